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

CREATE FUNCTION public.volume_is_gone() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
   begin
     if old.guid is not null or old.state = 'deleting' then
       delete from block_volume where id = old.id;
     end if;
     delete from block_snapshot where volume_id = old.id;
     return null;
   end $$;

CREATE FUNCTION public.volume_snapshot_is_gone() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
   begin
     if old.guid is not null or old.state = 'deleting' then
       delete from block_snapshot where id = old.id;
     end if;
     return null;
   end $$;

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

CREATE TABLE public.alert (
    id uuid NOT NULL,
    body json NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_at timestamp with time zone DEFAULT now() NOT NULL,
    delivered_at timestamp with time zone,
    given_up_at timestamp with time zone,
    error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL
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

CREATE TABLE public.block_snapshot (
    id uuid NOT NULL,
    group_id uuid NOT NULL,
    volume_id uuid NOT NULL,
    path text NOT NULL,
    size_bytes bigint NOT NULL,
    name text,
    description text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    delete_job_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL
);

CREATE TABLE public.block_volume (
    id uuid NOT NULL,
    group_id uuid NOT NULL,
    path text NOT NULL,
    host text NOT NULL,
    pool text NOT NULL,
    size_bytes bigint NOT NULL,
    name text,
    description text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    snapshot_id uuid,
    source_volume_id uuid,
    backup_id uuid,
    is_bootable boolean DEFAULT false NOT NULL,
    is_readonly boolean DEFAULT false NOT NULL,
    phase text,
    claim text,
    claimed_until timestamp with time zone,
    delete_job_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT block_volume_claim_check CHECK ((claim = ANY (ARRAY['deleting'::text, 'reverting'::text]))),
    CONSTRAINT block_volume_phase_check CHECK ((phase = ANY (ARRAY['attaching'::text, 'detaching'::text])))
)
WITH (fillfactor='70');

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
    instance_snapshot_id uuid,
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

CREATE TABLE public.export (
    id uuid NOT NULL,
    group_id uuid NOT NULL,
    pool_id uuid NOT NULL,
    wwn text NOT NULL,
    volume text NOT NULL,
    initiators jsonb NOT NULL,
    chap_user text,
    secret_id uuid,
    state text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    is_readonly boolean DEFAULT false NOT NULL,
    CONSTRAINT export_state_check CHECK ((state = ANY (ARRAY['creating'::text, 'available'::text, 'deleting'::text]))),
    CONSTRAINT export_wwn_check CHECK ((wwn = lower(wwn)))
)
WITH (fillfactor='70');

CREATE TABLE public.export_batch (
    id uuid NOT NULL,
    group_id uuid NOT NULL,
    type text NOT NULL,
    requested integer NOT NULL,
    done jsonb NOT NULL,
    errors jsonb NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT export_batch_type_check CHECK ((type = ANY (ARRAY['create'::text, 'delete'::text])))
);

CREATE TABLE public.export_batch_job (
    job_id uuid NOT NULL,
    batch_id uuid NOT NULL,
    elements integer NOT NULL,
    secret_id uuid
);

CREATE TABLE public.export_reconcile (
    host_id uuid NOT NULL,
    tries integer NOT NULL,
    next_at timestamp with time zone NOT NULL
);

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
    initiator text,
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

CREATE TABLE public.instance (
    id uuid NOT NULL,
    ordinal bigint NOT NULL,
    group_id uuid NOT NULL,
    host_id uuid NOT NULL,
    type text NOT NULL,
    ref text,
    name text NOT NULL,
    state text NOT NULL,
    mounts jsonb DEFAULT '[]'::jsonb NOT NULL,
    config_hash text,
    job_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_at timestamp with time zone,
    settled_at timestamp with time zone,
    gone_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    moved_to text,
    CONSTRAINT instance_check CHECK (((ref IS NULL) = (state = 'CREATING'::text))),
    CONSTRAINT instance_check1 CHECK (((state <> 'CREATING'::text) OR ((job_id IS NOT NULL) AND (gone_at IS NULL)))),
    CONSTRAINT instance_ref_check CHECK ((ref <> ''::text)),
    CONSTRAINT instance_state_check CHECK ((state = ANY (ARRAY['CREATING'::text, 'RUNNING'::text, 'STOPPED'::text, 'FROZEN'::text, 'SAVED'::text, 'OTHER'::text]))),
    CONSTRAINT instance_type_check CHECK ((type = ANY (ARRAY['lxc'::text, 'docker'::text, 'libvirt'::text])))
)
WITH (fillfactor='80');

CREATE TABLE public.instance_backup (
    id uuid NOT NULL,
    ordinal bigint NOT NULL,
    group_id uuid NOT NULL,
    name text NOT NULL,
    instance_id uuid NOT NULL,
    instance_type text NOT NULL,
    instance_name text NOT NULL,
    host text NOT NULL,
    target_id uuid,
    series_id uuid NOT NULL,
    incremental boolean NOT NULL,
    missing jsonb DEFAULT '[]'::jsonb NOT NULL,
    asked_state text NOT NULL,
    phase text,
    snapshot_id uuid,
    captured text,
    ordering_until timestamp with time zone,
    deleting boolean DEFAULT false NOT NULL,
    fail_reason text,
    look_at timestamp with time zone,
    looks integer DEFAULT 0 NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT instance_backup_captured_check CHECK ((captured = ANY (ARRAY['frozen'::text, 'stopped'::text, 'crash'::text]))),
    CONSTRAINT instance_backup_phase_check CHECK ((phase = ANY (ARRAY['snapshot'::text, 'volumes'::text, 'reading'::text, 'ending'::text])))
)
WITH (fillfactor='80');

ALTER TABLE public.instance_backup ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.instance_backup_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.instance_list (
    host_id uuid NOT NULL,
    hash text,
    folds bigint DEFAULT 0 NOT NULL,
    asked_at timestamp with time zone,
    problems jsonb DEFAULT '[]'::jsonb NOT NULL
);

CREATE TABLE public.instance_move (
    id uuid NOT NULL,
    number bigint NOT NULL,
    group_id uuid NOT NULL,
    instance_id uuid NOT NULL,
    type text NOT NULL,
    name text NOT NULL,
    from_host text NOT NULL,
    to_host text NOT NULL,
    to_pool text,
    target_id uuid,
    start boolean,
    was_running boolean,
    phase text DEFAULT 'copy'::text NOT NULL,
    step_id uuid NOT NULL,
    job_id uuid,
    outcome text,
    reason text,
    waiting text,
    base_point_id uuid,
    final_point_id uuid,
    dataset_id uuid,
    made_instance_id uuid,
    unsure boolean DEFAULT false NOT NULL,
    asked_by text NOT NULL,
    stopped_by text,
    tries integer DEFAULT 0 NOT NULL,
    lease timestamp with time zone,
    down_at timestamp with time zone,
    up_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT instance_move_check CHECK (((phase = 'ended'::text) = (ended_at IS NOT NULL))),
    CONSTRAINT instance_move_check1 CHECK (((ended_at IS NULL) OR ((outcome IS NOT NULL) AND (job_id IS NULL)))),
    CONSTRAINT instance_move_outcome_check CHECK ((outcome = ANY (ARRAY['moved'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT instance_move_phase_check CHECK ((phase = ANY (ARRAY['copy'::text, 'precopy'::text, 'stop'::text, 'final'::text, 'switch'::text, 'restart'::text, 'discard'::text, 'tidy'::text, 'ended'::text]))),
    CONSTRAINT instance_move_type_check CHECK ((type = ANY (ARRAY['lxc'::text, 'docker'::text])))
)
WITH (fillfactor='70');

ALTER TABLE public.instance_move ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.instance_move_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE public.instance ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.instance_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.instance_snapshot (
    id uuid NOT NULL,
    ordinal bigint NOT NULL,
    group_id uuid NOT NULL,
    name text NOT NULL,
    instance_id uuid NOT NULL,
    instance_type text NOT NULL,
    instance_name text NOT NULL,
    host text NOT NULL,
    status text NOT NULL,
    fail_reason text,
    consistency text,
    left_out jsonb DEFAULT '[]'::jsonb NOT NULL,
    job_id uuid,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT instance_snapshot_consistency_check CHECK ((consistency = ANY (ARRAY['frozen'::text, 'stopped'::text, 'crash'::text]))),
    CONSTRAINT instance_snapshot_status_check CHECK ((status = ANY (ARRAY['creating'::text, 'available'::text, 'error'::text, 'deleting'::text])))
)
WITH (fillfactor='80');

ALTER TABLE public.instance_snapshot ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.instance_snapshot_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.instance_snapshot_part (
    snapshot_id uuid NOT NULL,
    n integer NOT NULL,
    kind text NOT NULL,
    part_id uuid NOT NULL,
    source_id uuid NOT NULL,
    size_bytes bigint DEFAULT 0 NOT NULL,
    status text NOT NULL,
    CONSTRAINT instance_snapshot_part_kind_check CHECK ((kind = ANY (ARRAY['dataset'::text, 'volume'::text]))),
    CONSTRAINT instance_snapshot_part_status_check CHECK ((status = ANY (ARRAY['creating'::text, 'available'::text, 'error'::text, 'deleting'::text])))
);

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

CREATE TABLE public.job_pruning (
    one boolean DEFAULT true NOT NULL,
    ordinal bigint DEFAULT 0 NOT NULL,
    began_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT job_pruning_one_check CHECK (one)
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

CREATE TABLE public.lun_loan (
    id uuid NOT NULL,
    group_id uuid NOT NULL,
    backup_id uuid NOT NULL,
    kind text NOT NULL,
    project text NOT NULL,
    volume_id uuid,
    snapshot_id uuid,
    size_bytes bigint NOT NULL,
    host text,
    initiator text,
    connection jsonb,
    secret_id uuid,
    phase text NOT NULL,
    phase_at timestamp with time zone DEFAULT now() NOT NULL,
    job_id uuid,
    fail_reason text,
    look_at timestamp with time zone DEFAULT now() NOT NULL,
    looks integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT lun_loan_kind_check CHECK ((kind = ANY (ARRAY['read'::text, 'write'::text]))),
    CONSTRAINT lun_loan_phase_check CHECK ((phase = ANY (ARRAY['snapshot'::text, 'copy'::text, 'make'::text, 'reserve'::text, 'connect'::text, 'work'::text, 'disconnect'::text, 'release'::text, 'drop-copy'::text, 'drop-snapshot'::text, 'drop-volume'::text])))
)
WITH (fillfactor='70');

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
    schedule_id uuid,
    run_id uuid,
    trashed_at timestamp with time zone,
    purge_at timestamp with time zone,
    in_trash boolean DEFAULT false NOT NULL,
    wanted_back boolean DEFAULT false NOT NULL,
    move_at timestamp with time zone,
    moves integer DEFAULT 0 NOT NULL,
    CONSTRAINT point_check CHECK (((trashed_at IS NOT NULL) OR (NOT (in_trash OR wanted_back)))),
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

CREATE TABLE public.restore_task (
    id uuid NOT NULL,
    number bigint NOT NULL,
    group_id uuid NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    container text NOT NULL,
    host text,
    target_id uuid,
    path text NOT NULL,
    directory text NOT NULL,
    portfolio text NOT NULL,
    disabled boolean NOT NULL,
    code text DEFAULT 'init'::text NOT NULL,
    result smallint,
    reason text,
    point_id uuid,
    job_id uuid,
    stopped_by text,
    lease timestamp with time zone,
    expires_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    start boolean DEFAULT false NOT NULL,
    CONSTRAINT restore_task_check CHECK (((code = 'completed'::text) = (result IS NOT NULL))),
    CONSTRAINT restore_task_check1 CHECK (((code <> 'running'::text) OR (job_id IS NOT NULL))),
    CONSTRAINT restore_task_code_check CHECK ((code = ANY (ARRAY['init'::text, 'waiting'::text, 'running'::text, 'completed'::text]))),
    CONSTRAINT restore_task_result_check CHECK ((result = ANY (ARRAY[0, '-1'::integer, '-2'::integer]))),
    CONSTRAINT restore_task_type_check CHECK ((type = ANY (ARRAY['dataset'::text, 'path'::text, 'lxc'::text, 'docker'::text])))
)
WITH (fillfactor='70');

ALTER TABLE public.restore_task ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.restore_task_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.schedule (
    id uuid NOT NULL,
    number bigint NOT NULL,
    group_id uuid NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    container text NOT NULL,
    host text,
    target_id uuid,
    path text NOT NULL,
    directory text NOT NULL,
    at json NOT NULL,
    recurrence jsonb NOT NULL,
    timezone text NOT NULL,
    disabled boolean NOT NULL,
    retention integer NOT NULL,
    features text[] NOT NULL,
    code text DEFAULT 'init'::text NOT NULL,
    result smallint,
    last_run timestamp with time zone,
    ledger_at timestamp with time zone NOT NULL,
    next_due timestamp with time zone,
    fire_at timestamp with time zone,
    jitter_ms integer NOT NULL,
    zone_rules text NOT NULL,
    unmet_at timestamp with time zone,
    overdue boolean DEFAULT false NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT schedule_check CHECK (((next_due IS NULL) = (fire_at IS NULL))),
    CONSTRAINT schedule_code_check CHECK ((code = ANY (ARRAY['init'::text, 'scheduled'::text, 'waiting'::text, 'running'::text, 'completed'::text]))),
    CONSTRAINT schedule_jitter_ms_check CHECK ((jitter_ms >= 0)),
    CONSTRAINT schedule_result_check CHECK ((result = ANY (ARRAY[0, '-1'::integer, '-2'::integer]))),
    CONSTRAINT schedule_retention_check CHECK (((retention = 0) OR (retention >= 2))),
    CONSTRAINT schedule_type_check CHECK ((type = ANY (ARRAY['dataset'::text, 'path'::text, 'lxc'::text, 'docker'::text])))
)
WITH (fillfactor='70');

ALTER TABLE public.schedule ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.schedule_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.schedule_run (
    id uuid NOT NULL,
    ordinal bigint NOT NULL,
    schedule_id uuid NOT NULL,
    trigger text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    state text NOT NULL,
    outcome text,
    reason text,
    host text NOT NULL,
    place text NOT NULL,
    job_id uuid,
    point_id uuid,
    verify_job_id uuid,
    stopped_by text,
    lease timestamp with time zone,
    owes_prune boolean DEFAULT false NOT NULL,
    fired_at timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT schedule_run_check CHECK (((state = 'ended'::text) = (outcome IS NOT NULL))),
    CONSTRAINT schedule_run_check1 CHECK (((state = 'ended'::text) = (ended_at IS NOT NULL))),
    CONSTRAINT schedule_run_check2 CHECK (((state <> 'running'::text) OR (job_id IS NOT NULL))),
    CONSTRAINT schedule_run_outcome_check CHECK ((outcome = ANY (ARRAY['ran'::text, 'late'::text, 'missed'::text, 'skipped'::text, 'failed'::text, 'stopped'::text]))),
    CONSTRAINT schedule_run_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'granted'::text, 'running'::text, 'ended'::text]))),
    CONSTRAINT schedule_run_trigger_check CHECK ((trigger = ANY (ARRAY['due'::text, 'manual'::text, 'early'::text])))
)
WITH (fillfactor='70');

ALTER TABLE public.schedule_run ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.schedule_run_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

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

CREATE TABLE public.station (
    one boolean DEFAULT true NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    backup_overdue boolean DEFAULT false NOT NULL,
    restored_at timestamp with time zone,
    owes_purge boolean DEFAULT false NOT NULL,
    CONSTRAINT station_one_check CHECK (one)
);

CREATE TABLE public.station_backup (
    id uuid NOT NULL,
    ordinal bigint NOT NULL,
    trigger text NOT NULL,
    state text NOT NULL,
    asked_by text NOT NULL,
    lease timestamp with time zone NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    file text,
    stored_bytes bigint,
    sha256 text,
    encrypted boolean,
    keys boolean,
    reason text,
    evicted_at timestamp with time zone,
    CONSTRAINT station_backup_check CHECK (((state = 'running'::text) = (ended_at IS NULL))),
    CONSTRAINT station_backup_check1 CHECK (((state = 'good'::text) = (file IS NOT NULL))),
    CONSTRAINT station_backup_state_check CHECK ((state = ANY (ARRAY['running'::text, 'good'::text, 'failed'::text]))),
    CONSTRAINT station_backup_trigger_check CHECK ((trigger = ANY (ARRAY['due'::text, 'asked'::text])))
);

ALTER TABLE public.station_backup ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.station_backup_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.superseded_dataset (
    dataset_id uuid NOT NULL,
    job_id uuid NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_at timestamp with time zone DEFAULT now() NOT NULL,
    reason text
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

CREATE TABLE public.volume (
    id uuid NOT NULL,
    group_id uuid NOT NULL,
    pool_id uuid NOT NULL,
    path text NOT NULL,
    lane uuid NOT NULL,
    size_bytes bigint DEFAULT 0 NOT NULL,
    state text NOT NULL,
    device text,
    guid text,
    origin text,
    origin_volume text GENERATED ALWAYS AS (split_part(origin, '@'::text, 1)) STORED,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT volume_state_check CHECK ((state = ANY (ARRAY['creating'::text, 'available'::text, 'deleting'::text])))
)
WITH (fillfactor='70');

CREATE TABLE public.volume_attachment (
    id uuid NOT NULL,
    volume_id uuid NOT NULL,
    instance_id uuid,
    host_name text,
    mountpoint text,
    mode text NOT NULL,
    attached_at timestamp with time zone,
    state text DEFAULT 'attached'::text NOT NULL,
    initiator text,
    connection jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    is_disk boolean DEFAULT false NOT NULL,
    CONSTRAINT volume_attachment_mode_check CHECK ((mode = ANY (ARRAY['rw'::text, 'ro'::text]))),
    CONSTRAINT volume_attachment_state_check CHECK ((state = ANY (ARRAY['reserved'::text, 'attaching'::text, 'attached'::text])))
);

CREATE TABLE public.volume_backup (
    id uuid NOT NULL,
    ordinal bigint NOT NULL,
    group_id uuid NOT NULL,
    name text NOT NULL,
    volume_id uuid NOT NULL,
    volume text NOT NULL,
    snapshot_id uuid,
    target_id uuid,
    series_id uuid NOT NULL,
    incremental boolean NOT NULL,
    retention integer NOT NULL,
    instance_backup_id uuid,
    asked_bytes bigint NOT NULL,
    restore_job_id uuid,
    deleting boolean DEFAULT false NOT NULL,
    status text NOT NULL,
    size_bytes bigint DEFAULT 0 NOT NULL,
    stored_bytes bigint DEFAULT 0 NOT NULL,
    fail_reason text,
    points uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    job_id uuid,
    owes_prune boolean DEFAULT false NOT NULL,
    look_at timestamp with time zone,
    looks integer DEFAULT 0 NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    project text,
    lend_fault jsonb,
    CONSTRAINT volume_backup_retention_check CHECK (((retention = 0) OR (retention > 1))),
    CONSTRAINT volume_backup_status_check CHECK ((status = ANY (ARRAY['creating'::text, 'available'::text, 'error'::text, 'deleting'::text, 'restoring'::text])))
)
WITH (fillfactor='70');

ALTER TABLE public.volume_backup ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.volume_backup_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.volume_snapshot (
    id uuid NOT NULL,
    group_id uuid NOT NULL,
    volume_id uuid NOT NULL,
    name text NOT NULL,
    path text NOT NULL,
    size_bytes bigint DEFAULT 0 NOT NULL,
    guid text,
    state text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    instance_snapshot_id uuid,
    CONSTRAINT volume_snapshot_state_check CHECK ((state = ANY (ARRAY['creating'::text, 'available'::text, 'deleting'::text])))
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

ALTER TABLE ONLY public.alert
    ADD CONSTRAINT alert_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_chain_seq_key UNIQUE (chain_seq);

ALTER TABLE ONLY public.audit_head
    ADD CONSTRAINT audit_head_pkey PRIMARY KEY (one);

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (ordinal);

ALTER TABLE ONLY public.block_snapshot
    ADD CONSTRAINT block_snapshot_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.block_volume
    ADD CONSTRAINT block_volume_pkey PRIMARY KEY (id);

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

ALTER TABLE ONLY public.export_batch_job
    ADD CONSTRAINT export_batch_job_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY public.export_batch
    ADD CONSTRAINT export_batch_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.export
    ADD CONSTRAINT export_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.export_reconcile
    ADD CONSTRAINT export_reconcile_pkey PRIMARY KEY (host_id);

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

ALTER TABLE ONLY public.instance_backup
    ADD CONSTRAINT instance_backup_ordinal_key UNIQUE (ordinal);

ALTER TABLE ONLY public.instance_backup
    ADD CONSTRAINT instance_backup_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.instance_backup
    ADD CONSTRAINT instance_backup_series_id_key UNIQUE (series_id);

ALTER TABLE ONLY public.instance_list
    ADD CONSTRAINT instance_list_pkey PRIMARY KEY (host_id);

ALTER TABLE ONLY public.instance_move
    ADD CONSTRAINT instance_move_number_key UNIQUE (number);

ALTER TABLE ONLY public.instance_move
    ADD CONSTRAINT instance_move_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.instance
    ADD CONSTRAINT instance_ordinal_key UNIQUE (ordinal);

ALTER TABLE ONLY public.instance
    ADD CONSTRAINT instance_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.instance_snapshot
    ADD CONSTRAINT instance_snapshot_ordinal_key UNIQUE (ordinal);

ALTER TABLE ONLY public.instance_snapshot_part
    ADD CONSTRAINT instance_snapshot_part_pkey PRIMARY KEY (snapshot_id, n);

ALTER TABLE ONLY public.instance_snapshot
    ADD CONSTRAINT instance_snapshot_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.job_pruning
    ADD CONSTRAINT job_pruning_pkey PRIMARY KEY (one);

ALTER TABLE ONLY public.lane_hold
    ADD CONSTRAINT lane_hold_granted_once EXCLUDE USING gist (lane WITH =, span WITH &&) WHERE (granted);

ALTER TABLE ONLY public.lane_hold
    ADD CONSTRAINT lane_hold_pkey PRIMARY KEY (lane, job_id);

ALTER TABLE ONLY public.login_failure
    ADD CONSTRAINT login_failure_pkey PRIMARY KEY (key);

ALTER TABLE ONLY public.lun_loan
    ADD CONSTRAINT lun_loan_pkey PRIMARY KEY (id);

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

ALTER TABLE ONLY public.restore_task
    ADD CONSTRAINT restore_task_number_key UNIQUE (number);

ALTER TABLE ONLY public.restore_task
    ADD CONSTRAINT restore_task_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.schedule
    ADD CONSTRAINT schedule_number_key UNIQUE (number);

ALTER TABLE ONLY public.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.schedule_run
    ADD CONSTRAINT schedule_run_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.secret
    ADD CONSTRAINT secret_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY public.station_backup
    ADD CONSTRAINT station_backup_ordinal_key UNIQUE (ordinal);

ALTER TABLE ONLY public.station_backup
    ADD CONSTRAINT station_backup_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.station
    ADD CONSTRAINT station_pkey PRIMARY KEY (one);

ALTER TABLE ONLY public.superseded_dataset
    ADD CONSTRAINT superseded_dataset_pkey PRIMARY KEY (dataset_id);

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

ALTER TABLE ONLY public.volume_attachment
    ADD CONSTRAINT volume_attachment_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.volume_backup
    ADD CONSTRAINT volume_backup_ordinal_key UNIQUE (ordinal);

ALTER TABLE ONLY public.volume_backup
    ADD CONSTRAINT volume_backup_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.volume_backup
    ADD CONSTRAINT volume_backup_series_id_key UNIQUE (series_id);

ALTER TABLE ONLY public.volume
    ADD CONSTRAINT volume_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.volume_snapshot
    ADD CONSTRAINT volume_snapshot_pkey PRIMARY KEY (id);

CREATE INDEX access_token_group ON public.access_token USING btree (group_id);

CREATE INDEX access_token_tags ON public.access_token USING gin (tags jsonb_path_ops);

CREATE INDEX alert_age ON public.alert USING btree (created_at);

CREATE INDEX alert_owed ON public.alert USING btree (next_at) WHERE ((delivered_at IS NULL) AND (given_up_at IS NULL));

CREATE INDEX audit_group ON public.audit USING btree (group_id, ordinal);

CREATE INDEX block_snapshot_delete_job ON public.block_snapshot USING btree (delete_job_id) WHERE (delete_job_id IS NOT NULL);

CREATE INDEX block_snapshot_group ON public.block_snapshot USING btree (group_id, created_at, id);

CREATE INDEX block_snapshot_time ON public.block_snapshot USING btree (created_at, id);

CREATE INDEX block_snapshot_volume ON public.block_snapshot USING btree (volume_id);

CREATE INDEX block_volume_delete_job ON public.block_volume USING btree (delete_job_id) WHERE (delete_job_id IS NOT NULL);

CREATE INDEX block_volume_group ON public.block_volume USING btree (group_id, created_at, id);

CREATE INDEX block_volume_time ON public.block_volume USING btree (created_at, id);

CREATE INDEX dataset_instance ON public.dataset USING btree (group_id, ((tags ->> 'holdfast.instance'::text))) WHERE (tags ? 'holdfast.instance'::text);

CREATE INDEX dataset_instance_snapshot ON public.dataset USING btree (instance_snapshot_id) WHERE (instance_snapshot_id IS NOT NULL);

CREATE INDEX dataset_origin ON public.dataset USING btree (origin_id) WHERE (origin_id IS NOT NULL);

CREATE INDEX dataset_pool ON public.dataset USING btree (pool_id);

CREATE INDEX event_progress ON public.event USING btree (job_id) WHERE (type = 'job.progress'::text);

CREATE INDEX export_any_wwn ON public.export USING btree (wwn);

CREATE INDEX export_batch_created ON public.export_batch USING btree (created_at);

CREATE INDEX export_batch_group ON public.export_batch USING btree (group_id);

CREATE INDEX export_batch_job_batch ON public.export_batch_job USING btree (batch_id);

CREATE INDEX export_batch_job_secret ON public.export_batch_job USING btree (secret_id) WHERE (secret_id IS NOT NULL);

CREATE INDEX export_group ON public.export USING btree (group_id, wwn);

CREATE INDEX export_pool ON public.export USING btree (pool_id);

CREATE INDEX export_secret ON public.export USING btree (secret_id) WHERE (secret_id IS NOT NULL);

CREATE INDEX export_volume ON public.export USING btree (volume);

CREATE UNIQUE INDEX export_wwn ON public.export USING btree (wwn) WHERE (state <> 'deleting'::text);

CREATE INDEX fleet_user_tags ON public.fleet_user USING gin (tags jsonb_path_ops);

CREATE INDEX host_credential_host ON public.host_credential USING btree (host_id);

CREATE INDEX host_enrolment_expiry ON public.host_enrolment USING btree (expires_at);

CREATE INDEX host_removed ON public.host USING btree (id) WHERE (removed_at IS NOT NULL);

CREATE INDEX idempotency_key_age ON public.idempotency_key USING btree (created_at);

CREATE INDEX idempotency_key_holder ON public.idempotency_key USING btree (holder) WHERE (answer IS NULL);

CREATE INDEX instance_any_name ON public.instance USING btree (name) WHERE (gone_at IS NULL);

CREATE INDEX instance_any_ref ON public.instance USING btree (ref) WHERE (gone_at IS NULL);

CREATE INDEX instance_backup_group ON public.instance_backup USING btree (group_id, ordinal);

CREATE INDEX instance_backup_instance ON public.instance_backup USING btree (instance_id, ordinal);

CREATE INDEX instance_backup_look ON public.instance_backup USING btree (look_at) WHERE (look_at IS NOT NULL);

CREATE INDEX instance_backup_target ON public.instance_backup USING btree (target_id) WHERE (target_id IS NOT NULL);

CREATE INDEX instance_group ON public.instance USING btree (group_id, ordinal);

CREATE INDEX instance_group_ref ON public.instance USING btree (group_id, ref) WHERE (gone_at IS NULL);

CREATE INDEX instance_host ON public.instance USING btree (host_id, type, name);

CREATE INDEX instance_job ON public.instance USING btree (job_id) WHERE (job_id IS NOT NULL);

CREATE UNIQUE INDEX instance_making ON public.instance USING btree (host_id, type, name) WHERE (state = 'CREATING'::text);

CREATE INDEX instance_move_group ON public.instance_move USING btree (group_id, number);

CREATE INDEX instance_move_job ON public.instance_move USING btree (job_id) WHERE (job_id IS NOT NULL);

CREATE UNIQUE INDEX instance_move_open ON public.instance_move USING btree (instance_id) WHERE (ended_at IS NULL);

CREATE UNIQUE INDEX instance_move_step ON public.instance_move USING btree (step_id);

CREATE INDEX instance_move_target ON public.instance_move USING btree (target_id);

CREATE INDEX instance_name ON public.instance USING btree (group_id, name) WHERE (gone_at IS NULL);

CREATE INDEX instance_ordinal ON public.instance USING btree (ordinal);

CREATE UNIQUE INDEX instance_ref ON public.instance USING btree (host_id, type, ref) WHERE ((gone_at IS NULL) AND (ref IS NOT NULL));

CREATE INDEX instance_snapshot_group ON public.instance_snapshot USING btree (group_id, ordinal);

CREATE INDEX instance_snapshot_instance ON public.instance_snapshot USING btree (instance_id, ordinal);

CREATE INDEX instance_snapshot_job ON public.instance_snapshot USING btree (job_id);

CREATE INDEX instance_snapshot_part_id ON public.instance_snapshot_part USING btree (part_id);

CREATE INDEX job_active ON public.job USING btree (state, ordinal) WHERE (state = ANY (ARRAY['queued'::text, 'dispatched'::text, 'running'::text, 'cancelling'::text]));

CREATE INDEX job_dataset ON public.job USING btree (dataset_id, ordinal);

CREATE INDEX job_group ON public.job USING btree (group_id, ordinal);

CREATE INDEX job_host ON public.job USING btree (host_id, ordinal);

CREATE INDEX job_made_instance ON public.job USING btree (dataset_id) WHERE (kind = ANY (ARRAY['point.restore'::text, 'instance.clone'::text]));

CREATE INDEX job_ordinal ON public.job USING btree (ordinal);

CREATE INDEX job_unannounced ON public.job USING btree (ordinal) WHERE (NOT announced);

CREATE INDEX lane_hold_job ON public.lane_hold USING btree (job_id);

CREATE INDEX lane_hold_waiting ON public.lane_hold USING btree (job_id) WHERE (NOT granted);

CREATE INDEX login_failure_expiry ON public.login_failure USING btree (expires_at);

CREATE INDEX lun_loan_backup ON public.lun_loan USING btree (backup_id);

CREATE INDEX lun_loan_job ON public.lun_loan USING btree (job_id) WHERE (job_id IS NOT NULL);

CREATE INDEX lun_loan_look ON public.lun_loan USING btree (look_at);

CREATE UNIQUE INDEX lun_loan_pending ON public.lun_loan USING btree (backup_id) WHERE (phase = ANY (ARRAY['snapshot'::text, 'copy'::text, 'make'::text, 'reserve'::text, 'connect'::text]));

CREATE INDEX membership_user ON public.membership USING btree (user_id);

CREATE INDEX nats_revocation_expiry ON public.nats_revocation USING btree (expires_at);

CREATE INDEX nats_revocation_host ON public.nats_revocation USING btree (host_id, expires_at);

CREATE INDEX point_base ON public.point USING btree (base_id);

CREATE INDEX point_dataset ON public.point USING btree (dataset_id);

CREATE INDEX point_group ON public.point USING btree (group_id, ordinal);

CREATE INDEX point_host ON public.point USING btree (host_id);

CREATE INDEX point_move ON public.point USING btree (move_at) WHERE (move_at IS NOT NULL);

CREATE INDEX point_schedule ON public.point USING btree (schedule_id);

CREATE INDEX point_series_directory ON public.point_series USING btree (group_id, directory);

CREATE INDEX point_series_group ON public.point_series USING btree (group_id);

CREATE INDEX point_series_host ON public.point_series USING btree (host_id);

CREATE INDEX point_series_target ON public.point_series USING btree (target_id);

CREATE INDEX point_trash ON public.point USING btree (purge_at) WHERE (trashed_at IS NOT NULL);

CREATE INDEX restore_task_group ON public.restore_task USING btree (group_id, number);

CREATE INDEX restore_task_job ON public.restore_task USING btree (job_id);

CREATE INDEX restore_task_owed ON public.restore_task USING btree (id) WHERE ((code = ANY (ARRAY['init'::text, 'waiting'::text])) AND (NOT disabled));

CREATE INDEX restore_task_running ON public.restore_task USING btree (id) WHERE (code = 'running'::text);

CREATE INDEX restore_task_target ON public.restore_task USING btree (target_id);

CREATE INDEX schedule_fire ON public.schedule USING btree (fire_at) WHERE (fire_at IS NOT NULL);

CREATE INDEX schedule_ledger ON public.schedule USING btree (ledger_at);

CREATE UNIQUE INDEX schedule_name ON public.schedule USING btree (group_id, COALESCE(target_id, '00000000-0000-0000-0000-000000000000'::uuid), directory, name);

CREATE INDEX schedule_new ON public.schedule USING btree (id) WHERE ((code = 'init'::text) AND (NOT disabled));

CREATE INDEX schedule_overdue ON public.schedule USING btree (id) WHERE overdue;

CREATE INDEX schedule_rules ON public.schedule USING btree (zone_rules);

CREATE UNIQUE INDEX schedule_run_active ON public.schedule_run USING btree (schedule_id) WHERE (state <> 'ended'::text);

CREATE UNIQUE INDEX schedule_run_due ON public.schedule_run USING btree (schedule_id, due_at) WHERE (trigger = 'due'::text);

CREATE INDEX schedule_run_expires ON public.schedule_run USING btree (expires_at) WHERE (state = ANY (ARRAY['waiting'::text, 'granted'::text]));

CREATE INDEX schedule_run_job ON public.schedule_run USING btree (job_id);

CREATE INDEX schedule_run_lease ON public.schedule_run USING btree (lease) WHERE (state = 'granted'::text);

CREATE INDEX schedule_run_newest ON public.schedule_run USING btree (schedule_id, due_at, ordinal);

CREATE INDEX schedule_run_prune ON public.schedule_run USING btree (id) WHERE owes_prune;

CREATE INDEX schedule_run_running ON public.schedule_run USING btree (id) WHERE (state = 'running'::text);

CREATE INDEX schedule_run_slots ON public.schedule_run USING btree (host, place) WHERE (state = ANY (ARRAY['granted'::text, 'running'::text]));

CREATE INDEX schedule_run_verify ON public.schedule_run USING btree (verify_job_id);

CREATE INDEX schedule_run_waiting ON public.schedule_run USING btree (host, place, due_at) WHERE (state = 'waiting'::text);

CREATE INDEX schedule_target ON public.schedule USING btree (target_id);

CREATE INDEX schedule_unmet ON public.schedule USING btree (unmet_at) WHERE ((unmet_at IS NOT NULL) AND (NOT overdue));

CREATE INDEX secret_group ON public.secret USING btree (group_id);

CREATE INDEX secret_key ON public.secret USING btree (key_id, id);

CREATE INDEX session_expiry ON public.session USING btree (expires_at);

CREATE INDEX session_of_user ON public.session USING btree (user_id);

CREATE INDEX station_backup_good ON public.station_backup USING btree (started_at) WHERE (state = 'good'::text);

CREATE UNIQUE INDEX station_backup_running ON public.station_backup USING btree (state) WHERE (state = 'running'::text);

CREATE INDEX superseded_dataset_job ON public.superseded_dataset USING btree (job_id);

CREATE INDEX superseded_dataset_next ON public.superseded_dataset USING btree (next_at);

CREATE INDEX user_certificate_user ON public.user_certificate USING btree (user_id);

CREATE INDEX user_group_tags ON public.user_group USING gin (tags jsonb_path_ops);

CREATE INDEX volume_any_path ON public.volume USING btree (path);

CREATE INDEX volume_attachment_disk ON public.volume_attachment USING btree (instance_id) WHERE is_disk;

CREATE INDEX volume_attachment_instance ON public.volume_attachment USING btree (instance_id) WHERE (instance_id IS NOT NULL);

CREATE INDEX volume_attachment_time ON public.volume_attachment USING btree (created_at, id);

CREATE INDEX volume_attachment_volume ON public.volume_attachment USING btree (volume_id);

CREATE INDEX volume_backup_group ON public.volume_backup USING btree (group_id, ordinal);

CREATE INDEX volume_backup_instance ON public.volume_backup USING btree (instance_backup_id) WHERE (instance_backup_id IS NOT NULL);

CREATE INDEX volume_backup_job ON public.volume_backup USING btree (job_id);

CREATE INDEX volume_backup_look ON public.volume_backup USING btree (look_at) WHERE (look_at IS NOT NULL);

CREATE INDEX volume_backup_restore_job ON public.volume_backup USING btree (restore_job_id) WHERE (restore_job_id IS NOT NULL);

CREATE INDEX volume_backup_target ON public.volume_backup USING btree (target_id) WHERE (target_id IS NOT NULL);

CREATE INDEX volume_backup_volume ON public.volume_backup USING btree (volume_id);

CREATE INDEX volume_group ON public.volume USING btree (group_id, path);

CREATE INDEX volume_group_time ON public.volume USING btree (group_id, created_at, id);

CREATE INDEX volume_lane ON public.volume USING btree (lane);

CREATE INDEX volume_origin ON public.volume USING btree (origin_volume) WHERE (origin_volume IS NOT NULL);

CREATE UNIQUE INDEX volume_path ON public.volume USING btree (path) WHERE (state <> 'deleting'::text);

CREATE INDEX volume_pool ON public.volume USING btree (pool_id);

CREATE INDEX volume_snapshot_any_path ON public.volume_snapshot USING btree (path);

CREATE INDEX volume_snapshot_group ON public.volume_snapshot USING btree (group_id);

CREATE INDEX volume_snapshot_group_time ON public.volume_snapshot USING btree (group_id, created_at, id);

CREATE INDEX volume_snapshot_instance_snapshot ON public.volume_snapshot USING btree (instance_snapshot_id) WHERE (instance_snapshot_id IS NOT NULL);

CREATE UNIQUE INDEX volume_snapshot_path ON public.volume_snapshot USING btree (path) WHERE (state <> 'deleting'::text);

CREATE INDEX volume_snapshot_time ON public.volume_snapshot USING btree (created_at, id);

CREATE INDEX volume_snapshot_volume ON public.volume_snapshot USING btree (volume_id, name);

CREATE INDEX volume_time ON public.volume USING btree (created_at, id);

CREATE TRIGGER access_token_tells_access AFTER DELETE OR UPDATE OF name, hash, role, group_id, user_id, expires_at ON public.access_token FOR EACH ROW EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER audit_linked_once BEFORE UPDATE ON public.audit FOR EACH ROW WHEN ((old.chain_seq IS NOT NULL)) EXECUTE FUNCTION public.audit_is_append_only();

CREATE TRIGGER audit_unchanged BEFORE DELETE OR UPDATE OF ordinal, at, subject, user_id, group_id, via, address, request_id, method, path, operation, object_kind, object_id, object_name, result, code, job_id, detail OR TRUNCATE ON public.audit FOR EACH STATEMENT EXECUTE FUNCTION public.audit_is_append_only();

CREATE TRIGGER fleet_user_tells_access AFTER DELETE OR UPDATE OF name, role, disabled ON public.fleet_user FOR EACH ROW EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER membership_tells_access AFTER INSERT OR DELETE OR UPDATE ON public.membership FOR EACH ROW EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER session_tells_access AFTER DELETE ON public.session FOR EACH ROW WHEN ((old.expires_at > now())) EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER user_certificate_tells_access AFTER INSERT OR DELETE OR UPDATE ON public.user_certificate FOR EACH ROW EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER user_group_tells_access AFTER INSERT OR DELETE OR UPDATE OF name ON public.user_group FOR EACH ROW EXECUTE FUNCTION public.tell_access();

CREATE TRIGGER volume_gone AFTER DELETE ON public.volume FOR EACH ROW EXECUTE FUNCTION public.volume_is_gone();

CREATE TRIGGER volume_snapshot_gone AFTER DELETE ON public.volume_snapshot FOR EACH ROW EXECUTE FUNCTION public.volume_snapshot_is_gone();

ALTER TABLE ONLY public.access_token
    ADD CONSTRAINT access_token_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.access_token
    ADD CONSTRAINT access_token_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.fleet_user(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.block_snapshot
    ADD CONSTRAINT block_snapshot_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.block_volume
    ADD CONSTRAINT block_volume_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.dataset
    ADD CONSTRAINT dataset_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.dataset
    ADD CONSTRAINT dataset_instance_snapshot_id_fkey FOREIGN KEY (instance_snapshot_id) REFERENCES public.instance_snapshot(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.dataset
    ADD CONSTRAINT dataset_pool_id_fkey FOREIGN KEY (pool_id) REFERENCES public.pool(id);

ALTER TABLE ONLY public.export_batch
    ADD CONSTRAINT export_batch_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.export_batch_job
    ADD CONSTRAINT export_batch_job_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES public.export_batch(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.export_batch_job
    ADD CONSTRAINT export_batch_job_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.job(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.export_batch_job
    ADD CONSTRAINT export_batch_job_secret_id_fkey FOREIGN KEY (secret_id) REFERENCES public.secret(id);

ALTER TABLE ONLY public.export
    ADD CONSTRAINT export_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.export
    ADD CONSTRAINT export_pool_id_fkey FOREIGN KEY (pool_id) REFERENCES public.pool(id);

ALTER TABLE ONLY public.export_reconcile
    ADD CONSTRAINT export_reconcile_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.host(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.export
    ADD CONSTRAINT export_secret_id_fkey FOREIGN KEY (secret_id) REFERENCES public.secret(id);

ALTER TABLE ONLY public.host_credential
    ADD CONSTRAINT host_credential_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.host(id);

ALTER TABLE ONLY public.instance_backup
    ADD CONSTRAINT instance_backup_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.instance_backup
    ADD CONSTRAINT instance_backup_target_id_fkey FOREIGN KEY (target_id) REFERENCES public.target(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.instance
    ADD CONSTRAINT instance_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.instance
    ADD CONSTRAINT instance_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.host(id);

ALTER TABLE ONLY public.instance_list
    ADD CONSTRAINT instance_list_host_id_fkey FOREIGN KEY (host_id) REFERENCES public.host(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.instance_move
    ADD CONSTRAINT instance_move_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.instance_move
    ADD CONSTRAINT instance_move_target_id_fkey FOREIGN KEY (target_id) REFERENCES public.target(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.instance_snapshot
    ADD CONSTRAINT instance_snapshot_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.instance_snapshot_part
    ADD CONSTRAINT instance_snapshot_part_snapshot_id_fkey FOREIGN KEY (snapshot_id) REFERENCES public.instance_snapshot(id) ON DELETE CASCADE;

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

ALTER TABLE ONLY public.point
    ADD CONSTRAINT point_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES public.schedule(id) ON DELETE SET NULL;

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

ALTER TABLE ONLY public.restore_task
    ADD CONSTRAINT restore_task_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.restore_task
    ADD CONSTRAINT restore_task_target_id_fkey FOREIGN KEY (target_id) REFERENCES public.target(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.schedule
    ADD CONSTRAINT schedule_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.schedule_run
    ADD CONSTRAINT schedule_run_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES public.schedule(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.schedule
    ADD CONSTRAINT schedule_target_id_fkey FOREIGN KEY (target_id) REFERENCES public.target(id);

ALTER TABLE ONLY public.secret
    ADD CONSTRAINT secret_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.fleet_user(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.superseded_dataset
    ADD CONSTRAINT superseded_dataset_dataset_id_fkey FOREIGN KEY (dataset_id) REFERENCES public.dataset(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.superseded_dataset
    ADD CONSTRAINT superseded_dataset_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.job(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.target
    ADD CONSTRAINT target_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.target
    ADD CONSTRAINT target_secret_id_fkey FOREIGN KEY (secret_id) REFERENCES public.secret(id);

ALTER TABLE ONLY public.user_certificate
    ADD CONSTRAINT user_certificate_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.fleet_user(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.volume_attachment
    ADD CONSTRAINT volume_attachment_volume_id_fkey FOREIGN KEY (volume_id) REFERENCES public.volume(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.volume_backup
    ADD CONSTRAINT volume_backup_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.volume_backup
    ADD CONSTRAINT volume_backup_target_id_fkey FOREIGN KEY (target_id) REFERENCES public.target(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.volume
    ADD CONSTRAINT volume_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.volume
    ADD CONSTRAINT volume_pool_id_fkey FOREIGN KEY (pool_id) REFERENCES public.pool(id);

ALTER TABLE ONLY public.volume_snapshot
    ADD CONSTRAINT volume_snapshot_group_id_fkey FOREIGN KEY (group_id) REFERENCES public.user_group(id);

ALTER TABLE ONLY public.volume_snapshot
    ADD CONSTRAINT volume_snapshot_instance_snapshot_id_fkey FOREIGN KEY (instance_snapshot_id) REFERENCES public.instance_snapshot(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.volume_snapshot
    ADD CONSTRAINT volume_snapshot_volume_id_fkey FOREIGN KEY (volume_id) REFERENCES public.volume(id) ON DELETE CASCADE;
