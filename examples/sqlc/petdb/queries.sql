-- name: AddPet :one
insert into pets (name, tags) values ($1, $2) returning id, name, tags, born;

-- name: PetsTagged :many
select id, name, tags, born from pets where $1::text = any(tags) order by id;

-- name: Rename :execrows
update pets set name = $1 where id = any($2::bigint[]);
