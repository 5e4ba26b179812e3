// Package edge is what all gRPC services share: the server with its chain of
// interceptors and its life cycle, the one table from errors to status codes,
// the checks of requests, resource names, page tokens and filters.
//
// Handlers return plain errors, those of the room or a [Problem]. The chain
// makes statuses of them; no handler does.
package edge
