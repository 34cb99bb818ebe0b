package doctest

import (
	"regexp"
	"slices"
	"strings"
)

// commands are those that a page shows: the lines of its shell blocks, fenced or indented, and
// what stands in `…` in its sentences. A loop is one command, and so is a line that goes on in
// the next one. Comments behind " #" and prompts are left out, and spaces are single.
func commands(text string) (list []string) {
	prose, blocks := split(text)
	for _, b := range blocks {
		if b.language == "sh" || b.language == "bash" || b.language == "console" || b.language == "" && isCommand(b.lines[0]) {
			list = append(list, joined(b.lines)...)
		}
	}
	for _, m := range regexp.MustCompile("`([^`\n]+(?:\n[^`\n]+)?)`").FindAllStringSubmatch(prose, -1) {
		if span := strings.Join(strings.Fields(m[1]), " "); strings.Contains(span, " ") && isCommand(span) || span == ".ci/run" {
			list = append(list, span)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// isCommand tells by its first word whether a text is one for a shell.
func isCommand(text string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(text, "$ ")), " ")
	return slices.Contains(strings.Fields("amtool bash cat cd curl docker export for git go golangci-lint just kill lifeguard lifeguard-otlp "+
		"make pg_ctl pg_dump pgbench prometheus promtool psql redis-cli redis-server sh sudo systemctl wget"), word)
}

// block is one of a page's: fenced, with its language, or indented, with none.
type block struct {
	language string
	lines    []string
}

// split parts what a page says from its blocks.
func split(text string) (prose string, blocks []block) {
	fenced, indented, blank := false, false, true
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			if fenced = !fenced; fenced {
				blocks = append(blocks, block{language: strings.TrimPrefix(trimmed, "```")})
			}
			indented = false
			continue
		case fenced:
			last := &blocks[len(blocks)-1]
			last.lines = append(last.lines, line)
			continue
		case strings.HasPrefix(line, "    ") && trimmed != "" && (blank || indented):
			if !indented {
				blocks = append(blocks, block{})
			}
			indented = true
			last := &blocks[len(blocks)-1]
			last.lines = append(last.lines, line[4:])
			continue
		}
		indented, blank = false, trimmed == ""
		prose += line + "\n"
	}
	return prose, slices.DeleteFunc(blocks, func(b block) bool { return len(b.lines) == 0 })
}

// joined makes commands of lines.
func joined(lines []string) (list []string) {
	command := ""
	for _, line := range lines {
		line, _, _ = strings.Cut(line, " #")
		line = strings.Join(strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "$ ")), " ")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		command += line
		switch {
		case strings.HasSuffix(line, `\`):
			command = strings.TrimSuffix(command, `\`)
		case strings.HasPrefix(command, "for ") && line != "done":
			if !strings.HasSuffix(line, "do") {
				command += ";"
			}
			command += " "
		default:
			list, command = append(list, command), ""
		}
	}
	return list
}
