alter table pets add column legs int not null default 4;
