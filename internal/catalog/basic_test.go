package catalog

import "testing"

func TestAViewIsReadWithWhatIsBelowIt(t *testing.T) {
	t.Parallel()
	conn, _ := database(t, `
		CREATE TABLE users (id int PRIMARY KEY, created_at timestamptz);
		CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE);
		CREATE VIEW counted AS SELECT u.id, count(*) AS n, u.created_at::date AS day
			FROM users u JOIN orders o ON o.user_id = u.id GROUP BY 1, 3`)
	names := namesOf(t, conn)
	if got, want := names.describe(analyze(t, New(), conn, "SELECT * FROM counted")),
		"cacheable reads counted orders users"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
