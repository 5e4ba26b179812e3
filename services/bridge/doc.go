// Package bridge lets browsers call the API: JSON over HTTP, as Connect clients send it,
// and watches as server-sent events or as lines of JSON. It decides nothing: every call
// goes through the gRPC server of the same process, with all that stands in its way.
package bridge
