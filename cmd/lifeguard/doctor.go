package main

import (
	"bufio"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/lifeguard-go/lifeguard/cmd/internal/doctor"
)

const doctorIntro = `Doctor looks at a DSN, at the server behind it and at what stands between, and says what
is wrong for Lifeguard, why it matters, and which statement or setting puts it right. It
reads, and changes nothing without -fix.

Examples:

  lifeguard doctor -dsn 'postgres://app@db/shop?pool_max_conns=20' -instances 8
  lifeguard doctor -json | jq '.findings[] | select(.level == "error")'
  lifeguard doctor -fix

Without -dsn it takes LIFEGUARD_URL, DATABASE_URL or libpq's PG… variables, as the driver
does. The exit status is 0 if all is well or there are only notes, 1 after warnings, 2 after
errors; also 2 for a command line that cannot be understood.
`

// statusError is an exit status that has been explained already.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// doctorOptions are the command's flags.
type doctorOptions struct {
	doctor.Options

	json, fix, yes bool
	input          io.Reader // answers
}

func runDoctor(ctx context.Context, args []string, out output) error {
	return examine(ctx, args, out, os.Stdin)
}

func examine(ctx context.Context, args []string, out output, input io.Reader) error {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	o := doctorOptions{input: input}
	flags.StringVar(&o.DSN, "dsn", "", "`DSN` as the application has it")
	flags.IntVar(&o.Instances, "instances", 0, "`number` of the application's instances; 0 counts who is connected")
	flags.StringVar(&o.Redis, "redis", "", "`URL` of a Redis to look at (default $LIFEGUARD_REDIS)")
	flags.DurationVar(&o.Timeout, "timeout", 10*time.Second, "longest time for each check")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	flags.BoolVar(&o.fix, "fix", false, "put right what is safe, after asking")
	flags.BoolVar(&o.yes, "yes", false, "with -fix: do not ask")
	if err := parse(flags, args, out, doctorIntro); err != nil {
		return err
	}
	switch {
	case o.Instances < 0 || o.Instances > 100_000:
		return &usageError{command: "doctor", text: fmt.Sprintf("-instances must be from 0 to 100000, not %d", o.Instances)}
	case o.Timeout < 10*time.Millisecond || o.Timeout > time.Hour:
		return &usageError{command: "doctor", text: fmt.Sprintf("-timeout must be from 10ms to 1h, not %s", o.Timeout)}
	case o.yes && !o.fix:
		return &usageError{command: "doctor", text: "-yes goes with -fix only"}
	case o.json && o.fix && !o.yes:
		return &usageError{command: "doctor", text: "-json with -fix needs -yes: there is nobody to ask"}
	}
	o.Redis = cmp.Or(o.Redis, os.Getenv("LIFEGUARD_REDIS"))

	report, err := doctor.Run(ctx, o.Options)
	if err != nil {
		return err
	}
	if !o.json {
		report.Text(out)
	}
	if o.fix {
		if err := o.repair(ctx, report, out); err != nil {
			return err
		}
	}
	if o.json {
		if err := report.JSON(out); err != nil {
			return err
		}
	}
	if report.Status != 0 {
		return statusError(report.Status)
	}
	return nil
}

// repair shows what would be done, asks, and does it.
func (o *doctorOptions) repair(ctx context.Context, report *doctor.Report, out output) error {
	said := io.Writer(out)
	if o.json {
		said = io.Discard
	}
	if len(report.Fixes) == 0 {
		fmt.Fprintln(said, "\nThere is nothing that can be put right from here.")
		return nil
	}
	fmt.Fprintln(said, "\nTo be done:")
	for _, f := range report.Fixes {
		fmt.Fprintf(said, "\n  %s\n", f.SQL)
	}
	if !o.yes {
		fmt.Fprint(said, "\nDo it? [y/N] ")
		answer, _ := bufio.NewReader(o.input).ReadString('\n') // no answer is a no
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			fmt.Fprintln(said, "Nothing was done.")
			return nil
		}
	}
	if err := doctor.Apply(ctx, o.Options, report); err != nil {
		return err
	}
	for _, f := range report.Fixes {
		if f.Done {
			fmt.Fprintln(said, "done:", f.SQL)
		} else {
			fmt.Fprintf(said, "failed: %s\n  %s\n", f.SQL, f.Error)
		}
	}
	return nil
}
