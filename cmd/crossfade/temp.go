package main

import "github.com/spf13/cobra"

func (a *app) serveCommand() *cobra.Command   { return &cobra.Command{Use: "serve"} }
func (a *app) workCommand() *cobra.Command    { return &cobra.Command{Use: "work"} }
func (a *app) emulateCommand() *cobra.Command { return &cobra.Command{Use: "emulate"} }
