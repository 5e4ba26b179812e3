package edge

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/protoadapt"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// Domain is the domain of every google.rpc.ErrorInfo that we send.
const Domain = "crossfade"

// Problem is an error as the caller is told it: everything in it but Cause is
// sent.
type Problem struct {
	Code     codes.Code
	Reason   pb.ErrorReason
	Message  string                 // a sentence for people
	Metadata map[string]string      // goes into the ErrorInfo; may be nil
	Details  []protoadapt.MessageV1 // further google.rpc details, each type at most once
	Retry    time.Duration          // after how long to ask again; 0: asking again will not help
	Cause    error                  // for the log only; may be nil
}

// Error returns what the log should say.
func (p *Problem) Error() string {
	if p.Cause != nil {
		return fmt.Sprintf("%s: %v", p.Message, p.Cause)
	}
	return p.Message
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// Violation is one thing wrong with a field of a request.
type Violation = errdetails.BadRequest_FieldViolation

// Violated returns what is wrong with the field at path. Reason is one of
// REQUIRED, FORMAT, LENGTH, RANGE, UNKNOWN and CONFLICT.
func Violated(path, reason, description string) *Violation {
	return &Violation{Field: path, Reason: reason, Description: description}
}

// Invalid returns the problem of a request whose fields are wrong.
func Invalid(vs ...*Violation) *Problem {
	return InvalidFor(pb.ErrorReason_ERROR_REASON_INVALID_FIELDS, vs...)
}

// InvalidFor is [Invalid] with another reason.
func InvalidFor(reason pb.ErrorReason, vs ...*Violation) *Problem {
	p := &Problem{Code: codes.InvalidArgument, Reason: reason, Message: "the request is wrong"}
	if len(vs) > 0 {
		p.Message = vs[0].GetField() + ": " + vs[0].GetDescription()
	}
	if len(vs) > 1 {
		p.Message += fmt.Sprintf(" (and %d more)", len(vs)-1)
	}
	p.Details = []protoadapt.MessageV1{&errdetails.BadRequest{FieldViolations: vs}}
	return p
}

// Missing returns the problem that there is no resource of that name.
func Missing(name string, cause error) *Problem {
	return &Problem{
		Code: codes.NotFound, Reason: pb.ErrorReason_ERROR_REASON_NOT_FOUND,
		Message: "there is no " + name, Details: []protoadapt.MessageV1{resource(name, "there is none")}, Cause: cause,
	}
}

// Reused returns the problem that a request id was used for another request,
// which made or changed the named resource. Without a name it is one that the caller is
// not told of.
func Reused(name string) *Problem {
	p := &Problem{
		Code: codes.AlreadyExists, Reason: pb.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED, Message: "request_id was used for another request",
	}
	if name != "" {
		p.Details = []protoadapt.MessageV1{resource(name, "what the other request was for")}
	}
	return p
}

// Stale returns the problem that the etag sent is not the current one.
func Stale(name, current string) *Problem {
	return &Problem{
		Code: codes.Aborted, Reason: pb.ErrorReason_ERROR_REASON_ETAG_MISMATCH,
		Message:  name + " changed since it was read",
		Metadata: map[string]string{"current_etag": current},
		Details:  []protoadapt.MessageV1{resource(name, "its etag is another")},
	}
}

// Unmet is one condition that does not hold.
type Unmet = errdetails.PreconditionFailure_Violation

// Refused returns the problem that the state of things does not allow it.
func Refused(reason pb.ErrorReason, message string, unmet ...*Unmet) *Problem {
	return &Problem{
		Code: codes.FailedPrecondition, Reason: reason, Message: message,
		Details: []protoadapt.MessageV1{&errdetails.PreconditionFailure{Violations: unmet}},
	}
}

// resource names what a problem is about, and says what is the matter with it.
func resource(name, what string) *errdetails.ResourceInfo {
	return &errdetails.ResourceInfo{ResourceType: resourceType(name), ResourceName: name, Description: what}
}

// Draining is the problem that the server is stopping.
func Draining() *Problem {
	return &Problem{
		Code: codes.Unavailable, Reason: pb.ErrorReason_ERROR_REASON_DRAINING,
		Message: "the server is stopping; ask again", Retry: time.Second,
	}
}

// TooSlow is the problem that the reader of a watch does not keep up.
func TooSlow() *Problem {
	return &Problem{
		Code: codes.ResourceExhausted, Reason: pb.ErrorReason_ERROR_REASON_SLOW_CONSUMER,
		Message: "nothing was read for too long; watch again from the last cursor", Retry: time.Second,
		Details: []protoadapt.MessageV1{quota("watch", "the reader took no message for 30 seconds")},
	}
}

// Internal returns the problem of a mistake of ours.
func Internal(cause error) *Problem {
	return &Problem{
		Code: codes.Internal, Reason: pb.ErrorReason_ERROR_REASON_INTERNAL,
		Message: "something went wrong in the server", Cause: cause,
	}
}

func quota(subject, what string) *errdetails.QuotaFailure {
	return &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{Subject: subject, Description: what}}}
}
