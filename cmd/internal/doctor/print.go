package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// Text writes the report for people, the worst first.
func (r *Report) Text(w io.Writer) {
	if s := r.Server; s != nil {
		fmt.Fprintf(w, "%s at %s:%d, database %q, role %q\n\n", s.Version, s.Host, s.Port, s.Database, s.Role)
	}
	counts := map[Level]int{}
	for _, level := range slices.Backward(levels()) {
		for _, f := range r.Findings {
			if f.Level != level {
				continue
			}
			counts[level]++
			fmt.Fprintf(w, "%-5s  %s: %s\n", f.Level, f.Check, f.What)
			wrap(w, "why", f.Why)
			wrap(w, "fix", f.Fix)
		}
	}
	fmt.Fprintf(w, "\n%s, %s, %s\n", plural(counts[Error], "error"), plural(counts[Warn], "warning"), plural(counts[Note], "note"))
}

// width is that of a line of an explanation.
const width = 88

func wrap(w io.Writer, label, text string) {
	if text == "" {
		return
	}
	if label == "fix" { // is copied, so it stays on one line
		fmt.Fprintf(w, "       %s  %s\n", label, text)
		return
	}
	line := ""
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > width && line != "" {
			fmt.Fprintf(w, "       %-3s  %s\n", label, line)
			label, line = "", ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	fmt.Fprintf(w, "       %-3s  %s\n", label, line)
}
