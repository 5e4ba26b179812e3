package rollover

// Outcome says how a task ended. The set is closed; the empty outcome means
// that the task is still open.
type Outcome string

// The outcomes. Only Failed counts against a failure tolerance: what was
// skipped, handed over or found in conflict is nobody's failure.
const (
	Open       Outcome = ""
	Succeeded  Outcome = "succeeded"
	Skipped    Outcome = "skipped"
	HandedOver Outcome = "handed_over"
	Conflict   Outcome = "conflict"
	Failed     Outcome = "failed"
	Cancelled  Outcome = "cancelled"
	Undone     Outcome = "undone"
)

// Outcomes lists every outcome that ends a task, in the order of reports.
func Outcomes() []Outcome {
	return []Outcome{Succeeded, Skipped, HandedOver, Conflict, Failed, Cancelled, Undone}
}

// Reason says why a task has its outcome, or why it is held up. The set is
// closed, so that a portal can translate it.
type Reason string

// The reasons, grouped by the outcome that they explain.
const (
	NoReason Reason = ""

	// Succeeded.
	Rotated        Reason = "rotated"          // we added the new credential (and removed the old one if that was asked)
	AlreadyPresent Reason = "already_present"  // the new credential stood there before we came
	RotatedOldKept Reason = "rotated_old_kept" // the new one stands, the old one stays because a sibling target is not done

	// Skipped.
	NotACS   Reason = "not_acs"  // the endpoint does not sign in through ACS
	Disabled Reason = "disabled" // the tenant is disabled in the inventory
	NoTarget Reason = "nothing_to_do"
	// NotSelected: the rotation's selection does not match it.
	NotSelected Reason = "not_selected"

	// Handed over.
	NoAccess             Reason = "no_access"              // nobody gave us a way in, or it was refused
	IdentityMissing      Reason = "identity_missing"       // no service identity of that name
	IdentityAmbiguous    Reason = "identity_ambiguous"     // several service identities of that name
	NamespaceUnknown     Reason = "namespace_unknown"      // the host does not exist, or is none that we may call
	FederatedHalfMissing Reason = "federated_half_missing" // the endpoint is federated and its other namespace is not there
	OutOfReach           Reason = "out_of_reach"           // others use the identity too, to whom the creator has no rights

	// Conflict.
	ChangedSincePlan Reason = "changed_since_plan" // the target is not what the plan was made from
	NewMissing       Reason = "new_missing"        // the new credential was there and is gone

	// Failed.
	TriesUsedUp         Reason = "tries_used_up"        // every try of one step failed
	Refused             Reason = "refused"              // the other side will not do it, however often asked
	InventoryUnreadable Reason = "inventory_unreadable" // the tenant's endpoints could not be listed
	VerificationFailed  Reason = "verification_failed"  // what was read back is not what was written
	Blocked             Reason = "blocked"              // the new certificate, or its key, is on the block list
	UndoWindowOver      Reason = "undo_window_over"     // the old credentials went too long ago to be put back, or were not kept

	// Cancelled, Undone.
	ByRequest Reason = "by_request"
	// NotKnown: cancelled after a try that nobody answered, and the target could not
	// be read since.
	NotKnown Reason = "not_known"
)

// Hint tells a person what to do about a reason. It is a sentence, or empty
// where nothing is to be done.
func (r Reason) Hint() string {
	switch r {
	case RotatedOldKept:
		return "Rotate the endpoint's other namespace, then retire the old certificate with a new rotation."
	case NotACS:
		return "The endpoint does not use ACS; rotate its own credential (SAS key, webhook secret) instead."
	case Disabled:
		return "Enable the tenant in the inventory and rotate again if it should take part."
	case NoAccess:
		return "Give Crossfade the namespace's management key, or ask the owner of the namespace to add the certificate."
	case IdentityMissing:
		return "Ask the owner of the namespace for the name of the CRM service identity and set it on the tenant."
	case IdentityAmbiguous:
		return "Several service identities have this name; ask the owner of the namespace which one CRM uses."
	case NamespaceUnknown:
		return "Check the namespace address of the endpoint; the access control host does not exist or is not allowed."
	case FederatedHalfMissing:
		return "The endpoint is federated but only one of its two namespaces can be reached; ask the owner for the other."
	case ChangedSincePlan:
		return "Someone changed the identity after the plan was made; look at it and plan again."
	case NewMissing:
		return "The new certificate was removed by someone else; the old one was kept. Find out why, then rotate again."
	case TriesUsedUp:
		return "The other side kept failing; when it is healthy try again, or undo again what was being undone."
	case Refused:
		return "It was refused for good; read the detail and mend the cause."
	case InventoryUnreadable:
		return "The organisation's endpoints could not be listed; mend its login or address, then rotate again."
	case VerificationFailed:
		return "What the service reads back differs from what was sent; do not activate it before this is understood."
	case NotSelected:
		return "The rotation's selection leaves it out; select it in a new rotation if it should take part."
	case Blocked:
		return "The new certificate or its key is on the block list; cancel this rotation and rotate to another certificate."
	case NotKnown:
		return "Look at the identity, or undo the rotation, which takes the new certificate away where it stands by its doing."
	case OutOfReach:
		return "Have somebody with rights to every tenant that uses the identity rotate it."
	case UndoWindowOver:
		return "The old certificate can no longer be put back by an undo; rotate to it if it is wanted again."
	default:
		return ""
	}
}

// Reasons lists every reason, so that tables over them can be checked for
// completeness.
func Reasons() []Reason {
	return []Reason{
		Rotated, AlreadyPresent, RotatedOldKept, NotACS, Disabled, NoTarget,
		NoAccess, IdentityMissing, IdentityAmbiguous, NamespaceUnknown, FederatedHalfMissing,
		ChangedSincePlan, NewMissing, TriesUsedUp, Refused, InventoryUnreadable, VerificationFailed, ByRequest,
		NotSelected, Blocked, UndoWindowOver, NotKnown, OutOfReach,
	}
}

// Advice is a recommendation that goes with a task whatever its outcome.
type Advice string

// MoveToSAS is given to organisations of version 8.1 and later, which can sign
// in with a shared access signature instead of ACS (KB 3200643).
const MoveToSAS Advice = "move_to_sas"
