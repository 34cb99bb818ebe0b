package lifeguard

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// tableName is a table, perhaps with its schema.
type tableName struct{ schema, table string }

// String returns the name quoted, as it goes into SQL.
func (n tableName) String() string {
	if n.schema == "" {
		return quoteIdentifier(n.table)
	}
	return quoteIdentifier(n.schema) + "." + quoteIdentifier(n.table)
}

var errTableName = errors.New(`lifeguard: a table is named as table or schema.table; a part with a dot is quoted, "like.this"`)

// parseTableName reads table or schema.table. A part that is quoted may hold anything but
// NUL, with quotes doubled; one that is not may hold anything but a dot, a quote and NUL.
func parseTableName(s string) (tableName, error) {
	var parts []string
	for rest := s; ; {
		part, after, err := cutIdentifier(rest)
		if err != nil {
			return tableName{}, fmt.Errorf("%w, not %q", err, s)
		}
		parts = append(parts, part)
		if after == "" {
			break
		}
		rest = after[1:] // the dot
	}
	switch len(parts) {
	case 1:
		return tableName{table: parts[0]}, nil
	case 2:
		return tableName{schema: parts[0], table: parts[1]}, nil
	}
	return tableName{}, fmt.Errorf("%w, not %q", errTableName, s)
}

// cutIdentifier splits s after its first identifier; what is left begins with a dot, or
// is empty.
func cutIdentifier(s string) (identifier, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s, '.')
		if end < 0 {
			end = len(s)
		}
		if strings.Contains(s[:end], `"`) {
			return "", "", errTableName
		}
		return s[:end], s[end:], checkIdentifier(s[:end])
	}
	var sb strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			sb.WriteByte(s[i])
			continue
		}
		if strings.HasPrefix(s[i+1:], `"`) {
			sb.WriteByte('"')
			i++
			continue
		}
		if rest = s[i+1:]; rest != "" && rest[0] != '.' {
			return "", "", errTableName
		}
		return sb.String(), rest, checkIdentifier(sb.String())
	}
	return "", "", errTableName
}

func checkIdentifier(s string) error {
	if s == "" || strings.IndexByte(s, 0) >= 0 {
		return errTableName
	}
	return nil
}

// quoteIdentifier quotes a name for SQL; it holds no NUL.
func quoteIdentifier(s string) string {
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

func quoteColumns(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quoteIdentifier(name)
	}
	return strings.Join(quoted, ", ")
}

// snakeCase turns CreatedAt into created_at and OwnerID into owner_id.
func snakeCase(s string) string {
	runes := []rune(s)
	var sb strings.Builder
	for i, r := range runes {
		if unicode.IsUpper(r) {
			afterLower := i > 0 && !unicode.IsUpper(runes[i-1])
			beforeLower := i > 0 && i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if afterLower && runes[i-1] != '_' || beforeLower && runes[i-1] != '_' {
				sb.WriteByte('_')
			}
		}
		sb.WriteRune(unicode.ToLower(r))
	}
	return sb.String()
}
