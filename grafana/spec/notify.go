package spec

// Names of the ways on which an alert leaves; Grafana calls them contact points,
// Alertmanager receivers.
const (
	Slack   = "lifeguard-slack"
	Webhook = "lifeguard-webhook"
	Email   = "lifeguard-email"
)

// slackText is a template that both know. Nothing in it starts with a dollar, which
// Grafana would expand.
const slackText = `{{ range .Alerts }}{{ .Annotations.summary }}
{{ .Annotations.description }}
{{ .Annotations.runbook_url }}
{{ end }}`

const slackTitle = `{{ .Status }}: {{ .CommonLabels.alertname }} {{ .CommonLabels.pool }}`

type contactPoints struct {
	APIVersion    int            `yaml:"apiVersion"`
	ContactPoints []contactPoint `yaml:"contactPoints"`
}

type contactPoint struct {
	OrgID     int           `yaml:"orgId"`
	Name      string        `yaml:"name"`
	Receivers []integration `yaml:"receivers"`
}

type integration struct {
	UID      string            `yaml:"uid"`
	Type     string            `yaml:"type"`
	Settings map[string]string `yaml:"settings"`
}

// Variables that Grafana's contact points take from its environment. Compose sets
// them, since an empty one keeps Grafana from starting.
const (
	SlackVariable   = "LIFEGUARD_SLACK_URL"
	WebhookVariable = "LIFEGUARD_WEBHOOK_URL"
	EmailVariable   = "LIFEGUARD_ALERT_EMAIL"
)

// ContactPoints returns Grafana's.
func ContactPoints() ([]byte, error) {
	point := func(name, kind string, settings map[string]string) contactPoint {
		return contactPoint{OrgID: 1, Name: name, Receivers: []integration{{UID: name, Type: kind, Settings: settings}}}
	}
	return marshal(contactPoints{APIVersion: 1, ContactPoints: []contactPoint{
		point(Slack, "slack", map[string]string{"url": "${" + SlackVariable + "}", "title": slackTitle, "text": slackText}),
		point(Webhook, "webhook", map[string]string{"url": "${" + WebhookVariable + "}", "httpMethod": "POST"}),
		point(Email, "email", map[string]string{"addresses": "${" + EmailVariable + "}"}),
	}})
}

type policies struct {
	APIVersion int     `yaml:"apiVersion"`
	Policies   []route `yaml:"policies"`
}

// route is a notification policy of Grafana, or a route of Alertmanager: the same but
// for how matchers are written.
type route struct {
	OrgID          int         `yaml:"orgId,omitempty"`
	Receiver       string      `yaml:"receiver"`
	GroupBy        []string    `yaml:"group_by,omitempty"`
	GroupWait      string      `yaml:"group_wait,omitempty"`
	GroupInterval  string      `yaml:"group_interval,omitempty"`
	RepeatInterval string      `yaml:"repeat_interval,omitempty"`
	ObjectMatchers [][3]string `yaml:"object_matchers,omitempty"`
	Matchers       []string    `yaml:"matchers,omitempty"`
	Continue       bool        `yaml:"continue,omitempty"`
	Routes         []route     `yaml:"routes,omitempty"`
}

// tree sends what is Lifeguard's to all three, and everything else by e-mail.
func tree(p Params, groupBy []string, match func(*route)) route {
	root := route{
		Receiver: Email, GroupBy: groupBy,
		GroupWait: promDuration(p.GroupWait), GroupInterval: promDuration(p.GroupInterval), RepeatInterval: promDuration(p.RepeatInterval),
	}
	for _, name := range []string{Slack, Webhook, Email} {
		r := route{Receiver: name, Continue: name != Email}
		match(&r)
		root.Routes = append(root.Routes, r)
	}
	return root
}

// Policies returns Grafana's notification policy. It replaces the whole tree of the
// organisation, as Grafana has only one.
func Policies(p Params) ([]byte, error) {
	root := tree(p, []string{"grafana_folder", "alertname", "pool"}, func(r *route) {
		r.ObjectMatchers = [][3]string{{"component", "=", component}}
	})
	root.OrgID = 1
	return marshal(policies{APIVersion: 1, Policies: []route{root}})
}

type alertmanager struct {
	Global    map[string]any `yaml:"global"`
	Route     route          `yaml:"route"`
	Receivers []receiver     `yaml:"receivers"`
}

type receiver struct {
	Name    string           `yaml:"name"`
	Slack   []map[string]any `yaml:"slack_configs,omitempty"`
	Webhook []map[string]any `yaml:"webhook_configs,omitempty"`
	Email   []map[string]any `yaml:"email_configs,omitempty"`
}

// Alertmanager returns its configuration.
func Alertmanager(p Params) ([]byte, error) {
	to := p.Receivers
	root := tree(p, []string{"alertname", "pool"}, func(r *route) {
		r.Matchers = []string{`component="` + component + `"`}
	})
	return marshal(alertmanager{
		Global: map[string]any{"smtp_smarthost": to.SMTPHost, "smtp_from": to.From, "smtp_require_tls": false},
		Route:  root,
		Receivers: []receiver{
			{Name: Slack, Slack: []map[string]any{{
				"api_url": to.SlackURL, "channel": to.SlackChannel, "send_resolved": true, "title": slackTitle, "text": slackText,
			}}},
			{Name: Webhook, Webhook: []map[string]any{{"url": to.WebhookURL, "send_resolved": true}}},
			{Name: Email, Email: []map[string]any{{"to": to.To, "send_resolved": true}}},
		},
	})
}
