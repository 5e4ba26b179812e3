package jet

import (
	"fmt"
	"log/slog"
)

// serverLog hands the embedded server's warnings and errors to our log. Its
// notices, which tell of every start and stop, are for debugging.
type serverLog struct{ log *slog.Logger }

// Noticef implements the server's Logger.
func (l serverLog) Noticef(format string, v ...any) { l.say(l.log.Debug, format, v) }

// Warnf implements the server's Logger.
func (l serverLog) Warnf(format string, v ...any) { l.say(l.log.Warn, format, v) }

// Fatalf implements the server's Logger. It does not end the process.
func (l serverLog) Fatalf(format string, v ...any) { l.say(l.log.Error, format, v) }

// Errorf implements the server's Logger.
func (l serverLog) Errorf(format string, v ...any) { l.say(l.log.Error, format, v) }

// Debugf implements the server's Logger.
func (l serverLog) Debugf(string, ...any) {}

// Tracef implements the server's Logger. Traces hold payloads and are dropped.
func (l serverLog) Tracef(string, ...any) {}

func (l serverLog) say(at func(string, ...any), format string, v []any) {
	at("nats server", "said", fmt.Sprintf(format, v...))
}
