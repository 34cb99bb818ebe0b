create table region (r_regionkey int primary key, r_name char(25) not null, r_comment varchar(152));
create table nation (n_nationkey int primary key, n_name char(25) not null, n_regionkey int not null references region, n_comment varchar(152));
create table part (p_partkey int primary key, p_name varchar(55) not null, p_mfgr char(25) not null, p_brand char(10) not null, p_type varchar(25) not null,
  p_size int not null, p_container char(10) not null, p_retailprice decimal(15,2) not null, p_comment varchar(23) not null);
create table supplier (s_suppkey int primary key, s_name char(25) not null, s_address varchar(40) not null, s_nationkey int not null references nation,
  s_phone char(15) not null, s_acctbal decimal(15,2) not null, s_comment varchar(101) not null);
create table partsupp (ps_partkey int not null references part, ps_suppkey int not null references supplier, ps_availqty int not null,
  ps_supplycost decimal(15,2) not null, ps_comment varchar(199) not null, primary key (ps_partkey, ps_suppkey));
create table customer (c_custkey int primary key, c_name varchar(25) not null, c_address varchar(40) not null, c_nationkey int not null references nation,
  c_phone char(15) not null, c_acctbal decimal(15,2) not null, c_mktsegment char(10) not null, c_comment varchar(117) not null);
create table orders (o_orderkey int primary key, o_custkey int not null references customer, o_orderstatus char(1) not null, o_totalprice decimal(15,2) not null,
  o_orderdate date not null, o_orderpriority char(15) not null, o_clerk char(15) not null, o_shippriority int not null, o_comment varchar(79) not null);
create table lineitem (l_orderkey int not null references orders, l_partkey int not null, l_suppkey int not null, l_linenumber int not null,
  l_quantity decimal(15,2) not null, l_extendedprice decimal(15,2) not null, l_discount decimal(15,2) not null, l_tax decimal(15,2) not null,
  l_returnflag char(1) not null, l_linestatus char(1) not null, l_shipdate date not null, l_commitdate date not null, l_receiptdate date not null,
  l_shipinstruct char(25) not null, l_shipmode char(10) not null, l_comment varchar(44) not null, primary key (l_orderkey, l_linenumber));
insert into region select i, (array['AFRICA','AMERICA','ASIA','EUROPE','MIDDLE EAST'])[i + 1], 'r' from generate_series(0, 4) i;
insert into nation select i, (array['ALGERIA','ARGENTINA','BRAZIL','CANADA','EGYPT','ETHIOPIA','FRANCE','GERMANY','INDIA','INDONESIA','IRAN','IRAQ','JAPAN','JORDAN',
  'KENYA','MOROCCO','MOZAMBIQUE','PERU','CHINA','ROMANIA','SAUDI ARABIA','VIETNAM','RUSSIA','UNITED KINGDOM','UNITED STATES'])[i + 1],
  (array[0,1,1,1,4,0,3,3,2,2,4,4,2,4,0,0,0,1,2,3,4,2,3,3,1])[i + 1], 'n' from generate_series(0, 24) i;
insert into part select i, (array['forest green','almond blue','goldenrod lace','green lemon'])[1 + i % 4] || ' ' || i, 'Manufacturer#' || 1 + i % 5,
  'Brand#' || 1 + i % 5 || 1 + i % 3, (array['PROMO BURNISHED COPPER','STANDARD POLISHED BRASS','ECONOMY ANODIZED STEEL','MEDIUM POLISHED TIN'])[1 + i % 4],
  1 + i % 50, (array['SM CASE','MED BAG','LG BOX','JUMBO PKG','MED BOX'])[1 + i % 5], 900 + i, 'c' from generate_series(1, 120) i;
insert into supplier select i, 'Supplier#' || lpad(i::text, 9, '0'), 'a', i % 25, 10 + i % 25 || '-555-0' || i, i * 137 % 9000 - 500,
  case when i % 9 = 0 then 'Customer stuff Complaints' else 's' end from generate_series(1, 50) i;
insert into partsupp select p, 1 + (p * 7 + s * 13) % 50, (p * s * 31) % 9000, (p * 3 + s) % 900 + 1, 'ps' from generate_series(1, 120) p, generate_series(1, 4) s on conflict do nothing;
insert into customer select i, 'Customer#' || i, 'a', i % 25, 10 + i % 25 || '-555-1' || i, i * 91 % 9000 - 900,
  (array['BUILDING','AUTOMOBILE','MACHINERY','HOUSEHOLD','FURNITURE'])[1 + i % 5], 'c' from generate_series(1, 100) i;
insert into orders select i, 1 + i * 7 % 90, (array['F','O','P'])[1 + i % 3], 1000 + i * 321 % 400000, date '1992-01-01' + i * 11 % 2400,
  (array['1-URGENT','2-HIGH','3-MEDIUM','4-NOT SPECIFIED','5-LOW'])[1 + i % 5], 'Clerk#' || i % 9, 0, case when i % 11 = 0 then 'special packages requests' else 'o' end from generate_series(1, 500) i;
insert into lineitem select o, 1 + (o * 3 + n * 17) % 120, 1 + ((1 + (o * 3 + n * 17) % 120) * 7 + (1 + n % 4) * 13) % 50, n, 1 + (o * n * 7) % 50 + case when o % 50 = 0 then 60 else 0 end, 1000 + o * n * 37 % 90000,
  (o + n) % 11 / 100.0, (o + n) % 9 / 100.0, (array['R','A','N'])[1 + (o + n) % 3], (array['O','F'])[1 + o % 2],
  date '1992-01-10' + o * 11 % 2400 + n, date '1992-01-12' + o * 11 % 2400 + n * 2, date '1992-01-15' + o * 11 % 2400 + n % 5,
  (array['DELIVER IN PERSON','COLLECT COD','NONE'])[1 + n % 3], (array['AIR','MAIL','SHIP','TRUCK','AIR REG'])[1 + (o + n) % 5], 'l' from generate_series(1, 500) o, generate_series(1, 4) n;
create index on lineitem (l_partkey);
analyze;
