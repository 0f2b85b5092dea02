import { z } from 'zod'

/** The control plane's environment. Everything a replica needs; nothing else reads `process.env`. */
export const ControlPlaneConfig = z.object({
  HOLDFAST_PORT: z.coerce.number().int().min(0).max(65_535).default(8080),
  HOLDFAST_BIND: z.string().default('127.0.0.1'),
  DATABASE_URL: z.string().regex(/^postgres(ql)?:\/\//, 'must be a postgres:// URL'),
  NATS_URL: z.string().regex(/^(nats|tls):\/\//, 'must be a nats:// or tls:// URL'),
  /** File with the nkey seed that NATS knows this control plane by. */
  NATS_SEED_FILE: z.string().optional(),
  /** File with `{"token": …}`: the admin token that must work; made by `npm start` or by the operator. */
  HOLDFAST_CREDENTIALS_FILE: z.string().optional(),
  /** `127.0.0.0/8=admin,10.0.0.0/8=viewer`: roles of clients that cannot authenticate. Default: none. */
  HOLDFAST_TRUSTED_NETWORKS: z.string().default(''),
  /** Host names, beside loopback ones, under which browsers on a trusted network may reach us. */
  HOLDFAST_ALLOWED_HOSTS: z.string().default(''),
  HOLDFAST_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  HOLDFAST_DB_CONNECTIONS: z.coerce.number().int().min(2).max(100).default(8),
})
export type ControlPlaneConfig = Readonly<z.infer<typeof ControlPlaneConfig>>
