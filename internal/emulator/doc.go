// Package emulator is the part of Microsoft's cloud that a rotation touches, in
// one process: access control namespaces, Dynamics CRM organisations and Entra, and an
// issuer of portals' tokens, each a true server behind one TLS listener that tells them apart by host name;
// a certificate authority of its own; and a seeded world of tenants in all the
// states in which a rotation finds them.
package emulator
