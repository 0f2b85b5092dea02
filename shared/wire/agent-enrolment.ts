import { z } from 'zod'
import { HostName } from '../ids.ts'
import { NatsPublicKey } from './messages.ts'

const KEY_LENGTH = 32

/** 32 bytes, base64. */
export const SealPublicKey = z
  .string()
  .refine(
    (text) =>
      Buffer.from(text, 'base64').length === KEY_LENGTH && Buffer.from(text, 'base64').toString('base64') === text,
    {
      message: 'must be the 32 bytes of an X25519 public key, in base64',
    },
  )

/** What an agent sends to `POST /api/v1/hosts/enrol`: the one-time token, and the public halves of keys it has made for itself. */
export const EnrolRequest = z.object({
  token: z.string().min(1).max(200),
  /** Checked against the name that the token is for. */
  name: HostName.optional(),
  nats_public_key: NatsPublicKey,
  seal_public_key: SealPublicKey,
})
export type EnrolRequest = z.infer<typeof EnrolRequest>

export const EnrolAnswer = z.object({
  host: HostName,
  host_id: z.uuid(),
  /** Where NATS is, for agents. */
  nats_urls: z.array(z.string()).min(1),
  /** The credential that goes with `nats_public_key`. */
  jwt: z.string(),
  expires_at: z.iso.datetime(),
  /** The authority of the servers' certificates, as PEM, where it is not a public one. */
  ca: z.string().optional(),
})
export type EnrolAnswer = z.infer<typeof EnrolAnswer>
