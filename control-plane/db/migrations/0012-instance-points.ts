import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Points of instances, and instances from points. */
export class InstancePoints0012 implements MigrationInterface {
  readonly name = 'InstancePoints0012_1700000000012'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  // Datasets that were made for instances, by what they were made for, and the jobs that tell what came of it.
  `create index dataset_instance on dataset (group_id, (tags ->> 'holdfast.instance')) where tags ? 'holdfast.instance'`,
  `create index job_made_instance on job (dataset_id) where kind in ('point.restore', 'instance.clone')`,

  // Nobody needs the dataset once that job has succeeded: its instance was replaced by another, on another one.
  `create table superseded_dataset (
     dataset_id uuid primary key references dataset on delete cascade,
     job_id uuid not null references job on delete cascade,
     attempts integer not null default 0,
     next_at timestamptz not null default now(),
     -- Why it is there still.
     reason text
   )`,
  'create index superseded_dataset_next on superseded_dataset (next_at)',
  'create index superseded_dataset_job on superseded_dataset (job_id)',

  // Whether what is restored is started then.
  'alter table restore_task add column start boolean not null default false',
]
