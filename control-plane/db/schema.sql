CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;

CREATE FUNCTION public.audit_is_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ begin raise exception 'the audit is append-only' using errcode = 'restrict_violation'; end $$;

CREATE FUNCTION public.tell_access() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
  begin
    perform pg_notify('holdfast_access', tg_table_name);
    return null;
  end
  $$;

CREATE TABLE public.access_token (
    id uuid NOT NULL,
    group_id uuid,
    name text NOT NULL,
    hash bytea NOT NULL,
    role text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    document_id text GENERATED ALWAYS AS (("left"(replace((id)::text, '-'::text, ''::text), 12) || "right"(replace((id)::text, '-'::text, ''::text), 12))) STORED NOT NULL,
    user_id uuid,
    tags jsonb DEFAULT '{}'::jsonb NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    last_used_at timestamp with time zone,
    CONSTRAINT access_token_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT access_token_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'operator'::text, 'admin'::text])))
);

CREATE TABLE public.audit (
    ordinal bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    subject text NOT NULL,
    user_id uuid,
    group_id uuid,
    via text,
    address text,
    request_id text,
    method text,
    path text,
    operation text NOT NULL,
    object_kind text,
    object_id text,
    object_name text,
    result text NOT NULL,
    code text,
    job_id uuid,
    detail jsonb,
    chain_seq bigint,
    hash bytea,
    CONSTRAINT audit_check CHECK (((chain_seq IS NULL) = (hash IS NULL))),
    CONSTRAINT audit_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT audit_result_check CHECK ((result = ANY (ARRAY['accepted'::text, 'done'::text, 'refused'::text, 'failed'::text])))
);

CREATE TABLE public.audit_head (
    one boolean DEFAULT true NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    mark bytea,
    key_id text,
    CONSTRAINT audit_head_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT audit_head_one_check CHECK (one)
)
WITH (fillfactor='10');

ALTER TABLE public.audit ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE SEQUENCE public.dataset_ordinal
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.dataset (
    id uuid NOT NULL,
    ordinal bigint DEFAULT nextval('public.dataset_ordinal'::regclass) NOT NULL,
    group_id uuid NOT NULL,
    pool_id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    is_snapshot boolean NOT NULL,
    readonly boolean NOT NULL,
    origin_id uuid,
    origin_ordinal bigint,
    state text NOT NULL,
    root_inode bigint DEFAULT 0 NOT NULL,
    mountpoint text DEFAULT ''::text NOT NULL,
    consistency text DEFAULT 'crash'::text NOT NULL,
    tags jsonb DEFAULT '{}'::jsonb NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT dataset_check CHECK (((NOT is_snapshot) OR (origin_id IS NOT NULL))),
    CONSTRAINT dataset_consistency_check CHECK ((consistency = ANY (ARRAY['crash'::text, 'fuzzy'::text]))),
    CONSTRAINT dataset_kind_check CHECK ((kind = ANY (ARRAY['filesystem'::text, 'volume'::text]))),
    CONSTRAINT dataset_state_check CHECK ((state = ANY (ARRAY['creating'::text, 'available'::text, 'deleting'::text])))
)
WITH (fillfactor='70');

CREATE TABLE public.event (
    seq bigint NOT NULL,
    type text NOT NULL,
    job_id uuid,
    group_id uuid,
    body json NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.event_head (
    one boolean DEFAULT true NOT NULL,
    seq bigint NOT NULL,
    pruned_seq bigint NOT NULL,
    CONSTRAINT event_head_one_check CHECK (one)
)
WITH (fillfactor='10');

CREATE TABLE public.fleet_user (
    id uuid NOT NULL,
    document_id text GENERATED ALWAYS AS (("left"(replace((id)::text, '-'::text, ''::text), 12) || "right"(replace((id)::text, '-'::text, ''::text), 12))) STORED NOT NULL,
    name text NOT NULL,
    password text,
    role text,
    disabled boolean DEFAULT false NOT NULL,
    tags jsonb DEFAULT '{}'::jsonb NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT fleet_user_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'operator'::text, 'admin'::text])))
);

CREATE TABLE public.host (
    id uuid NOT NULL,
    name text NOT NULL,
    state text NOT NULL,
    draining boolean DEFAULT false NOT NULL,
    version text NOT NULL,
    slots integer NOT NULL,
    restore_paths jsonb NOT NULL,
    inventory_hash text NOT NULL,
    enrolled_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen_at timestamp with time zone,
    seal_public_key bytea,
    removed_at timestamp with time zone,
    source_paths jsonb DEFAULT '[]'::jsonb NOT NULL,
    backup_root text,
    CONSTRAINT host_seal_public_key_check CHECK ((length(seal_public_key) = 32)),
    CONSTRAINT host_slots_check CHECK ((slots > 0)),
    CONSTRAINT host_state_check CHECK ((state = ANY (ARRAY['online'::text, 'offline'::text])))
)
WITH (fillfactor='70');

CREATE TABLE public.host_credential (
    public_key text NOT NULL,
    host_id uuid NOT NULL,
    issued_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone
);

CREATE TABLE public.host_enrolment (
    id uuid NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    public_key text,
    seal_public_key bytea,
    CONSTRAINT host_enrolment_check CHECK ((((used_at IS NULL) = (public_key IS NULL)) AND ((used_at IS NULL) = (seal_public_key IS NULL)))),
    CONSTRAINT host_enrolment_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT host_enrolment_seal_public_key_check CHECK ((length(seal_public_key) = 32))
);

CREATE TABLE public.idempotency_key (
    hash bytea NOT NULL,
    fingerprint bytea NOT NULL,
    holder uuid NOT NULL,
    held_until timestamp with time zone NOT NULL,
    placed jsonb DEFAULT '{}'::jsonb NOT NULL,
    answer json,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT idempotency_key_fingerprint_check CHECK ((length(fingerprint) = 32)),
    CONSTRAINT idempotency_key_hash_check CHECK ((length(hash) = 32))
)
WITH (fillfactor='50');

CREATE TABLE public.job (
    id uuid NOT NULL,
    ordinal bigint NOT NULL,
    group_id uuid NOT NULL,
    host_id uuid NOT NULL,
    kind text NOT NULL,
    request jsonb NOT NULL,
    spec jsonb NOT NULL,
    dataset_id uuid,
    dataset_name text,
    state text NOT NULL,
    attempt integer DEFAULT 1 NOT NULL,
    not_after timestamp with time zone,
    withdrawn boolean DEFAULT false NOT NULL,
    heard_delivery integer DEFAULT 0 NOT NULL,
    heard_seq integer DEFAULT 0 NOT NULL,
    heard_at timestamp with time zone DEFAULT now() NOT NULL,
    announced boolean DEFAULT false NOT NULL,
    progress jsonb,
    phases jsonb DEFAULT '[]'::jsonb NOT NULL,
    result jsonb,
    error jsonb,
    retry_of uuid,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT job_attempt_check CHECK (((attempt >= 1) AND (attempt <= 6))),
    CONSTRAINT job_check CHECK (((finished_at IS NOT NULL) = (state = ANY (ARRAY['succeeded'::text, 'failed'::text, 'cancelled'::text])))),
    CONSTRAINT job_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'dispatched'::text, 'running'::text, 'cancelling'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text])))
)
WITH (fillfactor='70');

ALTER TABLE public.job ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.job_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.lane_hold (
    lane uuid NOT NULL,
    job_id uuid NOT NULL,
    job_ordinal bigint NOT NULL,
    exclusive boolean NOT NULL,
    granted boolean NOT NULL,
    span int8range GENERATED ALWAYS AS (
CASE
    WHEN exclusive THEN '(,)'::int8range
    ELSE int8range(job_ordinal, job_ordinal, '[]'::text)
END) STORED NOT NULL
);

CREATE TABLE public.login_failure (
    key bytea NOT NULL,
    failed_at timestamp with time zone[] NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT login_failure_key_check CHECK ((length(key) = 32))
);

CREATE TABLE public.membership (
    group_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT membership_role_check CHECK ((role = ANY (ARRAY['viewer'::text, 'operator'::text, 'admin'::text])))
);

CREATE TABLE public.nats_revocation (
    public_key text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    host_id uuid
);

CREATE TABLE public.point (
    id uuid NOT NULL,
    ordinal bigint NOT NULL,
    group_id uuid NOT NULL,
    series_id uuid NOT NULL,
    host_id uuid NOT NULL,
    name text NOT NULL,
    source jsonb NOT NULL,
    dataset_id uuid,
    status text NOT NULL,
    deleting boolean DEFAULT false NOT NULL,
    pinned boolean DEFAULT false NOT NULL,
    base_id uuid,
    chain uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    full_reason text,
    made jsonb,
    error jsonb,
    stored_bytes bigint DEFAULT 0 NOT NULL,
    source_bytes bigint DEFAULT 0 NOT NULL,
    damaged_at timestamp with time zone,
    damage jsonb,
    verified_at timestamp with time zone,
    rehearsed_at timestamp with time zone,
    recovery_seconds double precision,
    job_id uuid NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT point_status_check CHECK ((status = ANY (ARRAY['running'::text, 'good'::text, 'partial'::text, 'failed'::text])))
)
WITH (fillfactor='70');

ALTER TABLE public.point ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.point_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.point_series (
    id uuid NOT NULL,
    group_id uuid NOT NULL,
    target_id uuid,
    host_id uuid,
    directory text NOT NULL,
    CONSTRAINT point_series_check CHECK (((target_id IS NULL) <> (host_id IS NULL)))
);

CREATE TABLE public.pool (
    id uuid NOT NULL,
    host_id uuid NOT NULL,
    name text NOT NULL,
    local_name text NOT NULL,
    driver text NOT NULL,
    capabilities jsonb NOT NULL,
    size_bytes bigint NOT NULL,
    free_bytes bigint NOT NULL,
    present boolean DEFAULT true NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE public.schema_migration (
    id integer NOT NULL,
    "timestamp" bigint NOT NULL,
    name character varying NOT NULL
);

CREATE SEQUENCE public.schema_migration_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.schema_migration_id_seq OWNED BY public.schema_migration.id;

CREATE TABLE public.secret (
    id uuid NOT NULL,
    group_id uuid,
    kind text NOT NULL,
    sealed bytea NOT NULL,
    key_id text NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.session (
    hash bytea NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    used_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT session_hash_check CHECK ((length(hash) = 32))
);

CREATE TABLE public.target (
    id uuid NOT NULL,
    number bigint NOT NULL,
    group_id uuid NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    config jsonb NOT NULL,
    secret_id uuid,
    recipients jsonb DEFAULT '[]'::jsonb NOT NULL,
    has_identity boolean DEFAULT false NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE public.target ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.target_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.user_certificate (
    name text NOT NULL,
    user_id uuid NOT NULL
);

CREATE TABLE public.user_group (
    id uuid NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    document_id text GENERATED ALWAYS AS (("left"(replace((id)::text, '-'::text, ''::text), 12) || "right"(replace((id)::text, '-'::text, ''::text), 12))) STORED NOT NULL,
    tags jsonb DEFAULT '{}'::jsonb NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY public.schema_migration ALTER COLUMN id SET DEFAULT nextval('public.schema_migration_id_seq'::regclass);

ALTER TABLE ONLY public.schema_migration
    ADD CONSTRAINT "PK_0edff5015b71cc0389ae0f4b9a1" PRIMARY KEY (id);

ALTER TABLE ONLY public.access_token
    ADD CONSTRAINT access_token_document_id_key UNIQUE (document_id);

ALTER TABLE ONLY public.access_token
    ADD CONSTRAINT access_token_hash_key UNIQUE (hash);

ALTER TABLE ONLY public.access_token
    ADD CONSTRAINT access_token_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.access_token
    ADD CONSTRAINT access_token_user_id_group_id_name_key UNIQUE NULLS NOT DISTINCT (user_id, group_id, name);

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_chain_seq_key UNIQUE (chain_seq);

ALTER TABLE ONLY public.audit_head
    ADD CONSTRAINT audit_head_pkey PRIMARY KEY (one);

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (ordinal);

ALTER TABLE ONLY public.dataset
    ADD CONSTRAINT dataset_group_id_name_key UNIQUE (group_id, name);

ALTER TABLE ONLY public.dataset
    ADD CONSTRAINT dataset_ordinal_group_id_key UNIQUE (ordinal, group_id);

ALTER TABLE ONLY public.dataset
    ADD CONSTRAINT dataset_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.event_head
    ADD CONSTRAINT event_head_pkey PRIMARY KEY (one);

ALTER TABLE ONLY public.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (seq);

ALTER TABLE ONLY public.fleet_user
    ADD CONSTRAINT fleet_user_document_id_key UNIQUE (document_id);

ALTER TABLE ONLY public.fleet_user
    ADD CONSTRAINT fleet_user_name_key UNIQUE (name);

ALTER TABLE ONLY public.fleet_user
    ADD CONSTRAINT fleet_user_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.host_credential
    ADD CONSTRAINT host_credential_pkey PRIMARY KEY (public_key);

ALTER TABLE ONLY public.host_enrolment
    ADD CONSTRAINT host_enrolment_hash_key UNIQUE (hash);

ALTER TABLE ONLY public.host_enrolment
    ADD CONSTRAINT host_enrolment_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.host
    ADD CONSTRAINT host_name_key UNIQUE (name);

ALTER TABLE ONLY public.host
    ADD CONSTRAINT host_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.idempotency_key
    ADD CONSTRAINT idempotency_key_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY public.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.lane_hold
    ADD CONSTRAINT lane_hold_granted_once EXCLUDE USING gist (lane WITH =, span WITH &&) WHERE (granted);

ALTER TABLE ONLY public.lane_hold
    ADD CONSTRAINT lane_hold_pkey PRIMARY KEY (lane, job_id);

ALTER TABLE ONLY public.login_failure
    ADD CONSTRAINT login_failure_pkey PRIMARY KEY (key);

ALTER TABLE ONLY public.membership
    ADD CONSTRAINT membership_pkey PRIMARY KEY (group_id, user_id);

ALTER TABLE ONLY public.nats_revocation
    ADD CONSTRAINT nats_revocation_pkey PRIMARY KEY (public_key);

ALTER TABLE ONLY public.point
    ADD CONSTRAINT point_job_id_key UNIQUE (job_id);

ALTER TABLE ONLY public.point
    ADD CONSTRAINT point_ordinal_key UNIQUE (ordinal);

ALTER TABLE ONLY public.point
    ADD CONSTRAINT point_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.point
    ADD CONSTRAINT point_series_id_name_key UNIQUE (series_id, name);

ALTER TABLE ONLY public.point_series
    ADD CONSTRAINT point_series_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.pool
    ADD CONSTRAINT pool_host_id_local_name_key UNIQUE (host_id, local_name);

ALTER TABLE ONLY public.pool
    ADD CONSTRAINT pool_name_key UNIQUE (name);

ALTER TABLE ONLY public.pool
    ADD CONSTRAINT pool_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.secret
    ADD CONSTRAINT secret_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY public.target
    ADD CONSTRAINT target_group_id_name_key UNIQUE (group_id, name);

ALTER TABLE ONLY public.target
    ADD CONSTRAINT target_number_key UNIQUE (number);

ALTER TABLE ONLY public.target
    ADD CONSTRAINT target_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.user_certificate
    ADD CONSTRAINT user_certificate_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.user_group
    ADD CONSTRAINT user_group_document_id_key UNIQUE (document_id);

ALTER TABLE ONLY public.user_group
    ADD CONSTRAINT user_group_name_key UNIQUE (name);

ALTER TABLE ONLY public.user_group
    ADD CONSTRAINT user_group_pkey PRIMARY KEY (id);

CREATE INDEX access_token_group ON public.access_token USING btree (group_id);

CREATE INDEX access_token_tags ON public.access_token USING gin (tags jsonb_path_ops);

CREATE INDEX audit_group ON public.audit USING btree (group_id, ordinal);

CREATE INDEX dataset_origin ON public.dataset USING btree (origin_id) WHERE (origin_id IS NOT NULL);

CREATE INDEX dataset_pool ON public.dataset USING btree (pool_id);

CREATE INDEX event_progress ON public.event USING btree (job_id) WHERE (type = 'job.progress'::text);

CREATE INDEX fleet_user_tags ON public.fleet_user USING gin (tags jsonb_path_ops);

CREATE INDEX host_credential_host ON public.host_credential USING btree (host_id);

CREATE INDEX host_enrolment_expiry ON public.host_enrolment USING btree (expires_at);

CREATE INDEX host_removed ON public.host USING btree (id) WHERE (removed_at IS NOT NULL);

CREATE INDEX idempotency_key_age ON public.idempotency_key USING btree (created_at);

CREATE INDEX idempotency_key_holder ON public.idempotency_key USING btree (holder) WHERE (answer IS NULL);

CREATE INDEX job_active ON public.job USING btree (state, ordinal) WHERE (state = ANY (ARRAY['queued'::text, 'dispatched'::text, 'running'::text, 'cancelling'::text]));

CREATE INDEX job_dataset ON public.job USING btree (dataset_id, ordinal);

CREATE INDEX job_group ON public.job USING btree (group_id, ordinal);

CREATE INDEX job_host ON public.job USING btree (host_id, ordinal);

CREATE INDEX job_ordinal ON public.job USING btree (ordinal);

CREATE INDEX job_unannounced ON public.job USING btree (ordinal) WHERE (NOT announced);

CREATE INDEX lane_hold_job ON public.lane_hold USING btree (job_id);

CREATE INDEX lane_hold_waiting ON public.lane_hold USING btree (job_id) WHERE (NOT granted);

CREATE INDEX login_failure_expiry ON public.login_failure USING btree (expires_at);

CREATE INDEX membership_user ON public.membership USING btree (user_id);

CREATE INDEX nats_revocation_expiry ON public.nats_revocation USING btree (expires_at);

CREATE INDEX nats_revocation_host ON public.nats_revocation USING btree (host_id, expires_at);

CREATE INDEX point_base ON public.point USING btree (base_id);

CREATE INDEX point_dataset ON public.point USING btree (dataset_id);

CREATE INDEX point_group ON public.point USING btree (group_id, ordinal);

CREATE INDEX point_host ON public.point USING btree (host_id);

CREATE INDEX point_series_group ON public.point_series USING btree (group_id);

CREATE INDEX point_series_host ON public.point_series USING btree (host_id);

CREATE INDEX point_series_target ON public.point_series USING btree (target_id);

CREATE INDEX secret_group ON public.secret USING btree (group_id);

CREATE INDEX secret_key ON public.secret USING btree (key_id, id);

CREATE INDEX session_expiry ON public.session USING btree (expires_at);

CREATE INDEX session_of_user ON public.session USING btree (user_id);

CREATE INDEX user_certificate_user ON public.user_certificate USING btree (user_id);

CREATE INDEX user_group_tags ON public.user_group USING gin (tags jsonb_path_ops);

CREATE TRIGGER access_token_tells_access AFTER DELETE OR UPDATE OF name, hash, role, group_id, user_id, expires_at ON public.access_token FOR EACH ROW EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER audit_linked_once BEFORE UPDATE ON public.audit FOR EACH ROW WHEN ((old.chain_seq IS NOT NULL)) EXECUTE FUNCTION public.audit_is_append_only();

CREATE TRIGGER audit_unchanged BEFORE DELETE OR UPDATE OF ordinal, at, subject, user_id, group_id, via, address, request_id, method, path, operation, object_kind, object_id, object_name, result, code, job_id, detail OR TRUNCATE ON public.audit FOR EACH STATEMENT EXECUTE FUNCTION public.audit_is_append_only();

CREATE TRIGGER fleet_user_tells_access AFTER DELETE OR UPDATE OF name, role, disabled ON public.fleet_user FOR EACH ROW EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER membership_tells_access AFTER INSERT OR DELETE OR UPDATE ON public.membership FOR EACH ROW EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER session_tells_access AFTER DELETE ON public.session FOR EACH ROW WHEN ((old.expires_at > now())) EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER user_certificate_tells_access AFTER INSERT OR DELETE OR UPDATE ON public.user_certificate FOR EACH ROW EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER user_group_tells_access AFTER INSERT OR DELETE OR UPDATE OF name ON public.user_group FOR EACH ROW EXECUTE FUNCTION public.tell_access();

ALTER TABLE ONLY public.access_token
    ADD CONSTRAINT access_token_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.access_token
    ADD CONSTRAINT access_token_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.fleet_user(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.dataset
    ADD CONSTRAINT dataset_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.dataset
    ADD CONSTRAINT dataset_pool_id_fkey FOREIGN KEY (pool_id) REFERENCES public.pool(id);

ALTER TABLE ONLY public.host_credential
    ADD CONSTRAINT host_credential_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.host(id);

ALTER TABLE ONLY public.job
    ADD CONSTRAINT job_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.job
    ADD CONSTRAINT job_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.host(id);

ALTER TABLE ONLY public.lane_hold
    ADD CONSTRAINT lane_hold_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.job(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.membership
    ADD CONSTRAINT membership_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.membership
    ADD CONSTRAINT membership_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.fleet_user(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.nats_revocation
    ADD CONSTRAINT nats_revocation_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.host(id);

ALTER TABLE ONLY public.point
    ADD CONSTRAINT point_base_id_fkey FOREIGN KEY (base_id) REFERENCES public.point(id);

ALTER TABLE ONLY public.point
    ADD CONSTRAINT point_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.point
    ADD CONSTRAINT point_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.host(id);

ALTER TABLE ONLY public.point_series
    ADD CONSTRAINT point_series_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.point_series
    ADD CONSTRAINT point_series_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.host(id);

ALTER TABLE ONLY public.point
    ADD CONSTRAINT point_series_id_fkey FOREIGN KEY (series_id) REFERENCES public.point_series(id);

ALTER TABLE ONLY public.point_series
    ADD CONSTRAINT point_series_target_id_fkey FOREIGN KEY (target_id) REFERENCES public.target(id);

ALTER TABLE ONLY public.pool
    ADD CONSTRAINT pool_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.host(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.secret
    ADD CONSTRAINT secret_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.fleet_user(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.target
    ADD CONSTRAINT target_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.target
    ADD CONSTRAINT target_secret_id_fkey FOREIGN KEY (secret_id) REFERENCES public.secret(id);

ALTER TABLE ONLY public.user_certificate
    ADD CONSTRAINT user_certificate_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.fleet_user(id) ON DELETE CASCADE;
