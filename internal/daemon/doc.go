// Package daemon is what every long-running process of Crossfade needs besides
// its work: configuration, logs, metrics, health and an order of stopping.
package daemon
