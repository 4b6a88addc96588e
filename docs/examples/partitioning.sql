-- Tables of orders, outbox and stock as PostgreSQL's declarative partitions, without an extension. docs/scaling.md says
-- when, and what changes. It makes empty tables beside those in use, named ..._parted.

-- The lowest UUIDv7 of a moment: ids begin with their time, so a range of ids is a range of time.
CREATE FUNCTION uuid_at(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Orders: by month of their id, and each month by hash into four, so that inserts end at four right edges of each index.
CREATE TABLE orders_order_parted (LIKE orders_order INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id);
ALTER TABLE orders_order_parted ADD PRIMARY KEY (id);
-- No longer unique: that would need the id in it. A number follows from its order's id, see docs/scaling.md.
CREATE INDEX ON orders_order_parted (number);
CREATE INDEX ON orders_order_parted (user_id, id DESC);
CREATE INDEX ON orders_order_parted (status, id DESC);
CREATE INDEX ON orders_order_parted (expires_at) WHERE status = 'pending';

-- Lines and payments go where their order is: the order's id is part of their key.
CREATE TABLE orders_orderitem_parted (LIKE orders_orderitem INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (order_id);
ALTER TABLE orders_orderitem_parted ADD PRIMARY KEY (order_id, id), ADD UNIQUE (order_id, product_id),
    ADD FOREIGN KEY (order_id) REFERENCES orders_order_parted (id);
CREATE INDEX ON orders_orderitem_parted (product_id, id DESC);

CREATE TABLE orders_payment_parted (LIKE orders_payment INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (order_id);
ALTER TABLE orders_payment_parted ADD PRIMARY KEY (order_id, id),
    ADD FOREIGN KEY (order_id) REFERENCES orders_order_parted (id);
CREATE UNIQUE INDEX ON orders_payment_parted (order_id) WHERE status <> 'failed';
CREATE INDEX ON orders_payment_parted (transaction_id) WHERE transaction_id <> '';

-- The stock that orders hold, by the order's id; its ledger too, where a change by hand has no order (the default).
CREATE TABLE products_reservation_parted (LIKE products_reservation INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (order_id);
ALTER TABLE products_reservation_parted ADD PRIMARY KEY (order_id);
CREATE INDEX ON products_reservation_parted (expires_at) WHERE state = 'active';

CREATE TABLE products_stockmovement_parted (LIKE products_stockmovement INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (order_id);
CREATE TABLE products_stockmovement_by_hand PARTITION OF products_stockmovement_parted DEFAULT;
CREATE UNIQUE INDEX ON products_stockmovement_parted (order_id, product_id, kind, coalesce(return_id, order_id))
    WHERE order_id IS NOT NULL;
CREATE INDEX ON products_stockmovement_parted (product_id, id DESC);

-- The outbox: by day of its id. What has been delivered is dropped by the day, and nothing is left to vacuum.
CREATE TABLE events_outboxevent_parted (LIKE events_outboxevent INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (id);
ALTER TABLE events_outboxevent_parted ADD PRIMARY KEY (id);
CREATE INDEX ON events_outboxevent_parted (id) WHERE published_at IS NULL;
CREATE INDEX ON events_outboxevent_parted (subject);

-- The inbox: by day of the event's id, which every entry's key has anyway. Kept longer than the outbox's events.
CREATE TABLE events_inboxentry_parted (LIKE events_inboxentry INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (event_id);
ALTER TABLE events_inboxentry_parted ADD PRIMARY KEY (event_id, consumer);

-- Idempotency keys: by hash of their owner. By time they could not be unique.
CREATE TABLE common_idempotencykey_parted (LIKE common_idempotencykey INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY HASH (owner_id);
ALTER TABLE common_idempotencykey_parted ADD PRIMARY KEY (owner_id, key);
DO $$
BEGIN
    FOR remainder IN 0..7 LOOP
        EXECUTE format(
            'CREATE TABLE common_idempotencykey_%s PARTITION OF common_idempotencykey_parted
             FOR VALUES WITH (MODULUS 8, REMAINDER %s)', remainder, remainder);
    END LOOP;
END
$$;

-- The partitions of a month, and of a day; a periodic task calls them well ahead. Called again they change nothing.
CREATE PROCEDURE make_month(month date) LANGUAGE plpgsql AS $$
DECLARE
    begins uuid := uuid_at(month::timestamp AT TIME ZONE 'UTC');
    ends uuid := uuid_at((month + interval '1 month')::timestamp AT TIME ZONE 'UTC');
    suffix text := to_char(month, 'YYYYMM');
    parent text;
BEGIN
    EXECUTE format('CREATE TABLE IF NOT EXISTS orders_order_%s PARTITION OF orders_order_parted
        FOR VALUES FROM (%L) TO (%L) PARTITION BY HASH (id)', suffix, begins, ends);
    FOR remainder IN 0..3 LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS orders_order_%s_%s PARTITION OF orders_order_%s
            FOR VALUES WITH (MODULUS 4, REMAINDER %s)', suffix, remainder, suffix, remainder);
    END LOOP;
    FOREACH parent IN ARRAY ARRAY['orders_orderitem', 'orders_payment', 'products_reservation', 'products_stockmovement']
    LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS %s_%s PARTITION OF %s_parted FOR VALUES FROM (%L) TO (%L)',
            parent, suffix, parent, begins, ends);
    END LOOP;
END
$$;

CREATE PROCEDURE make_day(day date) LANGUAGE plpgsql AS $$
DECLARE
    begins uuid := uuid_at(day::timestamp AT TIME ZONE 'UTC');
    ends uuid := uuid_at((day + 1)::timestamp AT TIME ZONE 'UTC');
    parent text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['events_outboxevent', 'events_inboxentry'] LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS %s_%s PARTITION OF %s_parted FOR VALUES FROM (%L) TO (%L)',
            parent, to_char(day, 'YYYYMMDD'), parent, begins, ends);
    END LOOP;
END
$$;

-- The stock of a hot product in buckets: an order takes from one of them, and the CHECK holds for each.
CREATE TABLE products_stockbucket (
    product_id uuid NOT NULL,
    bucket smallint NOT NULL,
    on_hand integer NOT NULL,
    reserved integer NOT NULL DEFAULT 0,
    PRIMARY KEY (product_id, bucket),
    CHECK (reserved >= 0 AND reserved <= on_hand)
);
