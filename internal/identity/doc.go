// Package identity proves who a caller is: by the client certificate of its TLS
// connection, or by a bearer token that an issuer of the configuration signed. What
// somebody may do is not its business; see internal/rights.
package identity
