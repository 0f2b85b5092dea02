import { EntitySchema } from 'typeorm'
import type { Role } from '../../core/caller.ts'

export interface TokenRow {
  id: string
  /** Null: for every group its owner may act for, or without an owner for the whole fleet. */
  groupId: string | null
  userId: string | null
  name: string
  /** SHA-256 of the secret, which is 256 random bits: no salt or stretching is needed. */
  hash: Buffer
  role: Role
  createdAt: Date
  expiresAt: Date | null
}

export const TokenEntity = new EntitySchema<TokenRow>({
  name: 'access_token',
  columns: {
    id: { type: 'uuid', primary: true },
    groupId: { type: 'uuid', name: 'group_id', nullable: true },
    userId: { type: 'uuid', name: 'user_id', nullable: true },
    name: { type: 'text' },
    hash: { type: 'bytea', unique: true },
    role: { type: 'text' },
    createdAt: { type: 'timestamptz', name: 'created_at', createDate: true },
    expiresAt: { type: 'timestamptz', name: 'expires_at', nullable: true },
  },
})
