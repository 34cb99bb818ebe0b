package supply

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licence is one that a module may have. Text is a phrase that only it has, without regard
// to line breaks.
type licence struct{ name, text string }

// allowed returns the licences that go with Lifeguard's own, Apache-2.0. A module may have
// several, each for a part of it.
func allowed() []licence {
	return []licence{
		{"Apache-2.0", "apache license version 2.0, january 2004"},
		{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
		{"BSD-3-Clause", "be used to endorse or promote products derived from this software without specific prior written permission"},
		{"BSD-2-Clause", "redistributions in binary form must reproduce the above copyright notice"},
		{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"},
	}
}

// licencesIn names the licences in the files of a module's folder.
func licencesIn(dir string) (names, files []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	isLicence := regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)`)
	for _, entry := range entries {
		if entry.IsDir() || !isLicence.MatchString(entry.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, nil, err
		}
		found := licencesOf(string(text))
		if len(found) == 0 {
			return nil, nil, fmt.Errorf("%s is no licence that is allowed", entry.Name())
		}
		names, files = append(names, found...), append(files, entry.Name())
	}
	if len(names) == 0 {
		return nil, nil, fmt.Errorf("no licence among its files")
	}
	slices.Sort(names)
	return slices.Compact(names), files, nil
}

// licencesOf names the licences in a text, which may hold several.
func licencesOf(text string) (names []string) {
	words := strings.ToLower(strings.Join(strings.Fields(text), " "))
	for _, l := range allowed() {
		if l.name == "BSD-2-Clause" && slices.Contains(names, "BSD-3-Clause") {
			continue // which says the same and more
		}
		if strings.Contains(words, l.text) {
			names = append(names, l.name)
		}
	}
	return names
}
