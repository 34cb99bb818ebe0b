create table pets (id bigint primary key, name text not null);
insert into pets values (1, 'Rex');
