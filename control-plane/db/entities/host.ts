import { EntitySchema } from 'typeorm'

export interface HostRow {
  id: string
  name: string
  state: 'online' | 'offline'
  draining: boolean
  version: string
  slots: number
  restorePaths: string[]
  sourcePaths: string[]
  backupRoot: string | null
  initiator: string | null
  inventoryHash: string
  enrolledAt: Date
  lastSeenAt: Date | null
  /** X25519: what secrets are sealed to on their way there. */
  sealPublicKey: Buffer | null
  removedAt: Date | null
}

export const HostEntity = new EntitySchema<HostRow>({
  name: 'host',
  columns: {
    id: { type: 'uuid', primary: true },
    name: { type: 'text', unique: true },
    state: { type: 'text' },
    draining: { type: 'boolean' },
    version: { type: 'text' },
    slots: { type: 'integer' },
    restorePaths: { type: 'jsonb', name: 'restore_paths' },
    sourcePaths: { type: 'jsonb', name: 'source_paths' },
    backupRoot: { type: 'text', name: 'backup_root', nullable: true },
    initiator: { type: 'text', nullable: true },
    inventoryHash: { type: 'text', name: 'inventory_hash' },
    enrolledAt: { type: 'timestamptz', name: 'enrolled_at' },
    lastSeenAt: { type: 'timestamptz', name: 'last_seen_at', nullable: true },
    sealPublicKey: { type: 'bytea', name: 'seal_public_key', nullable: true },
    removedAt: { type: 'timestamptz', name: 'removed_at', nullable: true },
  },
})
