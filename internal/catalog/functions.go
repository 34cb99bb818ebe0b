package catalog

// isSettled reports whether a built-in function that is not IMMUTABLE depends on
// nothing but its arguments and on settings that are in the [Session] key:
// TimeZone, DateStyle, lc_*, bytea_output, default_text_search_config and their
// like; for current_database, on what the key names.
//
// Left out on purpose: what reads the clock (now, age), the catalog (pg_typeof,
// obj_description), settings by name (current_setting), or takes dates out of text
// in a document (jsonb_to_recordset).
func isSettled(function string) bool {
	switch function {
	case "array_to_json", "row_to_json", "to_json", "to_jsonb",
		"json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg",
		"json_agg_strict", "jsonb_agg_strict", "json_object_agg_strict", "json_object_agg_unique",
		"json_object_agg_unique_strict", "jsonb_object_agg_strict", "jsonb_object_agg_unique",
		"jsonb_object_agg_unique_strict",
		"json_build_array", "json_build_object", "jsonb_build_array", "jsonb_build_object",
		"array_to_string", "concat", "concat_ws", "format", "quote_literal", "quote_nullable",
		"to_char", "to_date", "to_number", "to_timestamp",
		"date_trunc", "date_part", "extract", "date_add", "date_subtract", "make_timestamptz", "generate_series",
		"date", "timestamp", "timestamptz", "time", "overlaps",
		"timezone", // but for time with time zone, which is refused as a type
		"convert", "convert_from", "convert_to", "length",
		"money", "numeric", "xml", "xml_is_well_formed",
		"enum_first", "enum_last", "enum_range",
		"to_tsvector", "to_tsquery", "plainto_tsquery", "phraseto_tsquery", "websearch_to_tsquery",
		"json_to_tsvector", "jsonb_to_tsvector", "ts_headline", "ts_match_tq", "ts_match_tt",
		"jsonb_path_exists_tz", "jsonb_path_match_tz", "jsonb_path_query_array_tz",
		"jsonb_path_query_first_tz", "jsonb_path_query_tz",
		"current_database":
		return true
	default:
		return false
	}
}

// isHarmlessVolatile reports whether a built-in VOLATILE function, or one in C of
// an extension that comes with PostgreSQL, changes no relation: sequences, large
// objects and locks are none.
func isHarmlessVolatile(function string) bool {
	switch function {
	case "random", "random_normal", "setseed", "clock_timestamp", "timeofday",
		"gen_random_uuid", "uuidv4", "uuidv7",
		"uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "gen_random_bytes", "gen_salt",
		"nextval", "currval", "lastval", "setval", "pg_sequence_last_value",
		"pg_sleep", "pg_sleep_for", "pg_sleep_until", "pg_notify",
		"pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_unlock", "pg_advisory_unlock_all",
		"pg_advisory_unlock_shared", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared",
		"pg_try_advisory_lock", "pg_try_advisory_lock_shared", "pg_try_advisory_xact_lock",
		"pg_try_advisory_xact_lock_shared",
		"lo_close", "lo_creat", "lo_create", "lo_export", "lo_from_bytea", "lo_get", "lo_import", "lo_lseek",
		"lo_lseek64", "lo_open", "lo_put", "lo_tell", "lo_tell64", "lo_truncate", "lo_truncate64", "lo_unlink",
		"loread", "lowrite",
		"pg_cancel_backend", "pg_terminate_backend", "pg_blocking_pids", "pg_lock_status",
		"pg_is_in_recovery", "pg_current_wal_lsn", "pg_current_wal_insert_lsn", "pg_current_wal_flush_lsn",
		"pg_last_wal_receive_lsn", "pg_last_wal_replay_lsn", "pg_last_xact_replay_timestamp",
		"pg_database_size", "pg_indexes_size", "pg_relation_size", "pg_table_size", "pg_tablespace_size",
		"pg_total_relation_size", "pg_partition_tree", "pg_partition_ancestors",
		"pg_xact_status", "txid_status", "pg_logical_emit_message", "pg_prepared_xact", "current_query",
		"pg_stat_clear_snapshot", "pg_stat_force_next_flush", "pg_stat_statements", "timezone",
		"system", "bernoulli", "system_rows", "system_time", // of TABLESAMPLE
		"suppress_redundant_updates_trigger", "tsvector_update_trigger", "tsvector_update_trigger_column":
		return true
	default:
		return false
	}
}

// runsQueries reports whether a built-in function that is not VOLATILE reads
// tables of the caller's choice, and so runs whatever stands in a view.
func runsQueries(function string) bool {
	switch function {
	case "table_to_xml", "table_to_xml_and_xmlschema", "schema_to_xml", "schema_to_xml_and_xmlschema",
		"database_to_xml", "database_to_xml_and_xmlschema":
		return true
	default:
		return false
	}
}

// runsText reports whether a function runs a text as a query.
func runsText(function string) bool {
	switch function {
	case "query_to_xml", "query_to_xml_and_xmlschema", "query_to_xmlschema", "cursor_to_xml", "cursor_to_xmlschema",
		"ts_stat", "ts_rewrite", "crosstab", "crosstab2", "crosstab3", "crosstab4", "crosstab_hash", "connectby":
		return true
	default:
		return runsQueries(function)
	}
}

// isExtensionType reports whether a type of a well-known extension may be the
// target of a cast: its input reads its text alone.
func isExtensionType(typ string) bool {
	switch typ {
	case "citext", "hstore", "ltree", "lquery", "ltxtquery", "cube", "seg",
		"geometry", "geography", "box2d", "box3d", "vector", "halfvec", "sparsevec":
		return true
	default:
		return false
	}
}
