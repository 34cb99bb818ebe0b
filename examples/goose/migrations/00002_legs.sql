-- +goose Up
-- +goose StatementBegin
create function legs(name text) returns int language plpgsql as $$
begin
	return case when name = 'Polly' then 2 else 4 end;
end
$$;
-- +goose StatementEnd

-- +goose Down
drop function legs(text);
