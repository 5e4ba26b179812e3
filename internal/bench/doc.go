// Package bench holds what measuring takes: samples with their middle, what a
// process and a folder hold, rows with goals, and the bare loop that the whole
// system is compared with.
package bench
