// Package dataverse lists the service endpoints of a Dynamics CRM organisation
// and says on which access control hosts their credentials hang.
//
// A [Client] speaks the Web API of versions 8.0 to 9.2 and signs in through
// Entra as an application. [Map] turns each row into targets; it is pure, and it
// never names a host outside the access control service, whatever the row says.
package dataverse
