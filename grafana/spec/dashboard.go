package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// schemaVersion is the last of Grafana's classic dashboard model, which Grafana 10 to 13
// read; 13 converts it when it loads.
const schemaVersion = 42

// columns is the width of a board, rowHeight the height of a section's title.
const (
	columns      = 24
	rowHeight    = 1
	numberHeight = 4
	panelHeight  = 8
	defaultWidth = 8
)

// object is a JSON object. encoding/json sorts its keys, so that the files are stable.
type object = map[string]any

// JSON returns the board as Grafana reads it.
func (b *Board) JSON() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(b.model()); err != nil {
		return nil, fmt.Errorf("board %s: %w", b.UID, err)
	}
	return out.Bytes(), nil
}

func (b *Board) model() object {
	return object{
		"uid": b.UID, "title": b.Title, "description": b.Text,
		"tags": []string{"lifeguard"}, "schemaVersion": schemaVersion, "version": 1,
		"editable": true, "graphTooltip": 1, // the same moment in all panels
		"timezone": "browser", "refresh": "10s",
		"time":        object{"from": "now-30m", "to": "now"},
		"timepicker":  object{},
		"annotations": object{"list": []object{}},
		"links": []object{{
			"type": "dashboards", "tags": []string{"lifeguard"}, "title": "Lifeguard", "icon": "external link", "tooltip": "",
			"asDropdown": false, "includeVars": true, "keepTime": true, "targetBlank": false,
		}},
		"templating": object{"list": b.variables()},
		"panels":     b.panels(),
	}
}

// variables are the pickers on top of a board. Those for logs and traces are only on a
// board that shows any.
func (b *Board) variables() []object {
	datasource := func(name, label, kind, current string) object {
		return object{
			"name": name, "label": label, "type": "datasource", "query": kind, "refresh": 1,
			"current": object{"text": label, "value": current}, "hide": 0, "multi": false, "includeAll": false, "regex": "",
		}
	}
	query := func(name, label, source, uid string, q any) object {
		return object{
			"name": name, "label": label, "type": "query", "refresh": 2, "sort": 1, "hide": 0,
			"datasource": object{"type": source, "uid": uid}, "query": q,
			"multi": true, "includeAll": true, "allValue": ".+", "regex": "",
			"current": object{"text": []string{"All"}, "value": []string{"$__all"}},
		}
	}
	prometheus := func(name, label, q string) object {
		return query(name, label, Prometheus, "${datasource}", object{"query": q, "refId": name})
	}
	list := []object{
		datasource("datasource", "Prometheus", Prometheus, Prometheus),
		prometheus("pool", "Pool", "label_values(lifeguard_pool_queue_depth, pool)"),
		prometheus("instance", "Instance", `label_values(lifeguard_pool_queue_depth{pool=~"$pool"}, instance)`),
	}
	if b.has(Logs) {
		list = append(list, datasource("loki", "Loki", Loki, Loki))
	}
	if b.has(Traces) {
		list = append(list, datasource("tempo", "Tempo", Tempo, Tempo))
	}
	if b.has(Logs) {
		service := query("service", "Service", Loki, "${loki}", object{"label": "service_name", "refId": "service", "stream": "", "type": 1})
		list = append(list, service)
	}
	return list
}

func (b *Board) has(k Kind) bool {
	for _, s := range b.Sections {
		for _, p := range s.Panels {
			if p.Kind == k {
				return true
			}
		}
	}
	return false
}

// panels lays the panels out: each section's title, and under it what fits in a line.
func (b *Board) panels() []object {
	var list []object
	y := 0
	for _, s := range b.Sections {
		list = append(list, object{
			"id": s.ID, "type": "row", "title": s.Title, "collapsed": false, "panels": []object{},
			"gridPos": object{"x": 0, "y": y, "w": columns, "h": rowHeight},
		})
		y += rowHeight
		x, line := 0, 0
		for i := range s.Panels {
			p := &s.Panels[i]
			width, height := p.size()
			if x+width > columns {
				x, y = 0, y+line
				line = 0
			}
			model := p.model()
			model["gridPos"] = object{"x": x, "y": y, "w": width, "h": height}
			list = append(list, model)
			x, line = x+width, max(line, height)
		}
		y += line
	}
	return list
}

func (p *Panel) size() (width, height int) {
	width, height = p.Width, panelHeight
	if width == 0 {
		width = defaultWidth
	}
	if p.Kind == Number {
		height = numberHeight
	}
	return width, height
}

// source is the panel's data source: the one that is picked on the board.
func (p *Panel) source() object {
	kind := p.Datasource()
	variable := "${" + kind + "}"
	if kind == Prometheus {
		variable = "${datasource}"
	}
	return object{"type": kind, "uid": variable}
}

func (p *Panel) model() object {
	return object{
		"id": p.ID, "type": string(p.Kind), "title": p.Title, "description": p.Text,
		"datasource": p.source(), "targets": p.targets(),
		"fieldConfig": object{"defaults": p.field(), "overrides": []object{}},
		"options":     p.options(),
	}
}

func (p *Panel) targets() []object {
	var list []object
	for i, q := range p.Queries {
		ref := string(rune('A' + i))
		target := object{"refId": ref, "datasource": p.source()}
		switch p.Kind {
		case Logs:
			target["expr"], target["queryType"], target["maxLines"] = q.Expr, "range", 200
		case Traces:
			target["query"], target["queryType"], target["tableType"], target["limit"] = q.Expr, "traceql", "traces", 20
		case Lines, Number, Heatmap:
			target["expr"], target["legendFormat"], target["editorMode"], target["range"] = q.PromQL(), q.Legend, "code", true
			target["exemplar"] = p.Kind == Heatmap
			if p.Kind == Heatmap {
				target["format"] = "heatmap"
			}
		}
		list = append(list, target)
	}
	return list
}

// field says how values are written and drawn.
func (p *Panel) field() object {
	f := object{"color": object{"mode": "palette-classic"}}
	if p.Unit != "" {
		f["unit"], f["min"] = string(p.Unit), 0
	}
	if p.Max != nil {
		f["max"] = *p.Max
	}
	if p.Empty != "" {
		f["noValue"] = p.Empty
	}
	if p.Alarm != nil {
		f["thresholds"] = object{"mode": "absolute", "steps": []object{{"color": "green", "value": nil}, {"color": "red", "value": *p.Alarm}}}
	}
	switch p.Kind {
	case Number:
		if p.Alarm != nil {
			f["color"] = object{"mode": "thresholds"}
		}
	case Lines:
		f["custom"] = p.lines()
	case Heatmap, Logs, Traces:
	}
	return f
}

func (p *Panel) lines() object {
	custom := object{
		"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false,
		"stacking":        object{"mode": "none", "group": "A"},
		"thresholdsStyle": object{"mode": "off"},
	}
	if p.Stacked {
		custom["stacking"] = object{"mode": "normal", "group": "A"}
		custom["fillOpacity"] = 30
	}
	if p.Alarm != nil {
		custom["thresholdsStyle"] = object{"mode": "dashed"}
	}
	return custom
}

func (p *Panel) options() object {
	switch p.Kind {
	case Number:
		return object{
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
			"colorMode":     "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "textMode": "auto", "wideLayout": true,
			"showPercentChange": false, "percentChangeColorMode": "standard",
		}
	case Heatmap:
		return object{
			"calculate": false, "showValue": "never",
			"color":   object{"mode": "scheme", "scheme": "Oranges", "fill": "dark-orange", "scale": "exponential", "exponent": 0.5, "steps": 64, "reverse": false},
			"cellGap": 1, "filterValues": object{"le": 1e-9},
			"exemplars": object{"color": "rgba(255,0,255,0.7)"},
			"legend":    object{"show": true}, "rowsFrame": object{"layout": "auto"},
			"tooltip": object{"mode": "single", "showColorScale": false, "yHistogram": true},
			"yAxis":   object{"axisPlacement": "left", "reverse": false, "unit": string(p.Unit)},
		}
	case Logs:
		return object{
			"dedupStrategy": "none", "enableLogDetails": true, "prettifyLogMessage": false, "showCommonLabels": false,
			"showLabels": false, "showLogContextToggle": false, "showTime": true, "sortOrder": "Descending", "wrapLogMessage": true,
		}
	case Traces:
		return object{"cellHeight": "sm", "showHeader": true, "frameIndex": 0}
	case Lines:
	}
	return object{
		"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
		"tooltip": object{"mode": "multi", "sort": "desc", "hideZeros": true},
	}
}
