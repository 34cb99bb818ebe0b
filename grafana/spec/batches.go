package spec

func batchPanels() []Panel {
	return []Panel{
		{
			ID: 51, Kind: Lines, Title: "Rows", Unit: RowsPerSec, Stacked: true,
			Text:    "Rows a second that BatchInserters are done with: written, or refused by the table.",
			Queries: []Query{{rateBy("lifeguard_batch_rows_total", "pool, result"), "{{pool}} {{result}}"}},
		},
		{
			ID: 52, Kind: Lines, Title: "Bytes", Unit: BytesPerSec,
			Text:    "Bytes of rows a second, as they are written.",
			Queries: []Query{{rateBy("lifeguard_batch_bytes_total", "pool"), "{{pool}}"}},
		},
		{
			ID: 53, Kind: Lines, Title: "Time of a flush", Unit: Seconds,
			Text:    "To write one chunk, with its waits for admission, retries and refused rows.",
			Queries: quantiles("lifeguard_batch_flush_duration_seconds", "pool", "{{pool}}"),
		},
		{
			ID: 54, Kind: Lines, Title: "Chunks", Unit: PerSecond,
			Text: "Chunks a second by outcome; retries, of chunks or parts of them; and those whose COMMIT lost its answer and was found to have taken place.",
			Queries: []Query{
				{rateBy("lifeguard_batch_chunks_total", "pool, outcome"), "{{pool}} {{outcome}}"},
				{rateBy("lifeguard_batch_retries_total", "pool"), "{{pool}} retries"},
				{rateBy("lifeguard_batch_recovered_total", "pool"), "{{pool}} recovered"},
			},
		},
		{
			ID: 55, Kind: Lines, Title: "Rows pending", Unit: Count,
			Text:    "Rows that were accepted and are neither written nor refused yet.",
			Queries: []Query{{"sum by (pool) (lifeguard_batch_pending_rows{@})", "{{pool}}"}},
		},
		{
			ID: 56, Kind: Lines, Title: "Memory of pending rows", Unit: Bytes,
			Text:    "At MaxPendingBytes the next Add waits.",
			Queries: []Query{{"sum by (pool) (lifeguard_batch_pending_bytes{@})", "{{pool}}"}},
		},
	}
}
