package edge_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
	"github.com/crossfade-project/crossfade/services/edge"
)

func fields() edge.FilterFields {
	return edge.FilterFields{
		Strings: []string{"display_name", "host"}, Bools: []string{"disabled"}, Maps: []string{"labels"},
		Enums: map[string]protoreflect.EnumType{"state": pb.Rotation_STATE_RUNNING.Type()},
	}
}

func TestParseFilter_MatchesWhatItSays(t *testing.T) {
	thing := map[string]any{
		"display_name": "CRM Europe", "host": "a-sb.accesscontrol.windows.net", "disabled": false,
		"labels": map[string]string{"wave": "1"}, "state": "STATE_RUNNING",
	}
	for filter, want := range map[string]bool{
		``:                                 true,
		`state = STATE_RUNNING`:            true,
		`state != STATE_RUNNING`:           false,
		`state = STATE_FAILED`:             false,
		`display_name:"europe"`:            true,
		`display_name = "europe"`:          false,
		`NOT disabled`:                     true,
		`disabled = true`:                  false,
		`disabled = false AND host:"a-sb"`: true,
		`labels.wave = "1"`:                true,
		`labels.wave = "2"`:                false,
		`labels:"wave"`:                    true,
		`labels:"pilot"`:                   false,
		`labels.pilot = "x"`:               false,
		`(state = STATE_FAILED OR state = STATE_RUNNING) AND NOT host:"gov"`: true,
		`host < "b"`: true,
	} {
		f, err := edge.ParseFilter(filter, fields())
		if err != nil {
			t.Errorf("ParseFilter(%s) = %v", filter, err)
			continue
		}
		if got := f.Match(func(name string) any { return thing[name] }); got != want {
			t.Errorf("%s matches: %v, want %v", filter, got, want)
		}
	}
}

func TestParseFilter_RefusesWithOneShortSentence(t *testing.T) {
	for name, filter := range map[string]string{
		"unknown field": `colour = "red"`,
		"wrong type":    `disabled = "yes"`,
		"unknown value": `state = STATE_ODD`,
		"zero value":    `state = STATE_UNSPECIFIED OR state = STATE_RUNNING`,
		"bare word":     `europe`,
		"half":          `state =`,
		"numbers":       `1 = 2`,
		"function":      `timestamp("2016-11-01T01:00:00Z") = timestamp("2016-11-01T01:00:00Z")`,
		"fuzzy":         `disabled disabled`,
		"too long":      `host = "` + strings.Repeat("x", 1000) + `"`,
		"too many":      `disabled` + strings.Repeat(` OR disabled`, 60),
		"deep":          strings.Repeat("(", 500) + "disabled" + strings.Repeat(")", 490),
	} {
		_, err := edge.ParseFilter(filter, fields())
		p := edge.ProblemOf(err)
		if err == nil || p.Code != codes.InvalidArgument || p.Reason != pb.ErrorReason_ERROR_REASON_FILTER_INVALID {
			t.Errorf("%s: ParseFilter = %v, want a problem with the filter", name, err)
			continue
		}
		if strings.Contains(p.Message, "\n") || len(p.Message) > 400 {
			t.Errorf("%s: the message is not short: %q", name, p.Message)
		}
	}
}
