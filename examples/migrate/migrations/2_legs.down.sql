alter table pets drop column legs;
