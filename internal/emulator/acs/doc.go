// Package acs is an emulator of Azure Access Control Service 2.0: the OData
// management service, the OAuth WRAP and OAuth 2.0 draft 13 token endpoints,
// and the rules that turn a CRM server's SAML assertion into a Service Bus
// token.
//
// One [Server] holds many namespaces. Each is one host name, and a request
// finds its namespace by its Host header, so that thousands of them can stand
// behind one listener. What the real service did where nobody wrote it down is
// a field of [Switches]; what it did on a bad day is a [FaultRule].
//
// The service itself was shut down on 2018-11-07.
package acs
