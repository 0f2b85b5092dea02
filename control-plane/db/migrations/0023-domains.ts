import type { MigrationInterface, QueryRunner } from 'typeorm'

/** Domains of libvirt among the instances, and volumes that are their disks. */
export class Domains0023 implements MigrationInterface {
  readonly name = 'Domains0023_1700000000023'

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of STATEMENTS) await runner.query(statement)
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; restore the backup taken before the upgrade')
  }
}

const STATEMENTS = [
  `alter table instance
     drop constraint instance_type_check,
     add constraint instance_type_check check (type in ('lxc', 'docker', 'libvirt')),
     drop constraint instance_state_check,
     add constraint instance_state_check check (state in ('CREATING', 'RUNNING', 'STOPPED', 'FROZEN', 'SAVED', 'OTHER'))`,
  // Its host tells so: nobody has noted it, and nobody but its host ends it.
  'alter table volume_attachment add column is_disk boolean not null default false',
  'create index volume_attachment_disk on volume_attachment (instance_id) where is_disk',
]
