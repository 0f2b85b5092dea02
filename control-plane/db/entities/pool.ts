import { EntitySchema } from 'typeorm'
import type { Capabilities, DriverName } from '../../../shared/wire/messages.ts'

export interface PoolRow {
  id: string
  hostId: string
  name: string
  localName: string
  driver: DriverName
  capabilities: Capabilities
  sizeBytes: number
  freeBytes: number
  present: boolean
}

/** Postgres gives bigint as text; sizes and counts of ours stay below 2^53. */
const bigintAsNumber = { to: (value: number) => value, from: (value: string | null) => Number(value) }

export const PoolEntity = new EntitySchema<PoolRow>({
  name: 'pool',
  columns: {
    id: { type: 'uuid', primary: true },
    hostId: { type: 'uuid', name: 'host_id' },
    name: { type: 'text', unique: true },
    localName: { type: 'text', name: 'local_name' },
    driver: { type: 'text' },
    capabilities: { type: 'jsonb' },
    sizeBytes: { type: 'bigint', name: 'size_bytes', transformer: bigintAsNumber },
    freeBytes: { type: 'bigint', name: 'free_bytes', transformer: bigintAsNumber },
    present: { type: 'boolean' },
  },
})
