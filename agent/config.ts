import { z } from 'zod'
import { HostName } from '../shared/ids.ts'
import { DriverName } from '../shared/wire/messages.ts'

const PoolConfig = z.object({
  name: HostName,
  /** An absolute directory; of `zfs` the name of a dataset of ZFS, like `tank/holdfast`; for `sim` any text. */
  path: z.string().min(1),
  driver: DriverName.optional(),
})
export type PoolConfig = z.infer<typeof PoolConfig>

const jsonText = z.string().transform((text, context): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    context.addIssue({ code: 'custom', message: 'is not JSON' })
    return z.NEVER
  }
})

function splitList(text: string): readonly string[] {
  return text.split(',').filter((path) => path !== '')
}

const Prefixes = z.array(z.string().regex(/^\/.*\/$/, 'must begin and end with a slash'))

const Portals = z
  .array(
    z
      .string()
      .regex(
        /^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:]+\]):\d{1,5}$/,
        'must be address:port, an IPv6 address in brackets',
      ),
  )
  .min(1, 'must name at least one address:port')
  .max(16)

const PathOrNone = z.string().regex(/^(\/.*)?$/, 'must be an absolute path, or empty')

/** One agent's environment. Nothing else of the agent reads `process.env`. */
export const AgentConfig = z.object({
  HOLDFAST_AGENT_NAME: HostName,
  /** Directory of the journal. */
  HOLDFAST_AGENT_STATE: z.string().startsWith('/', 'must be an absolute path'),
  /** `[{"name":"main","path":"/srv/pool","driver":"btrfs"}]`; without a driver the best that works there is taken. */
  HOLDFAST_AGENT_POOLS: jsonText.pipe(z.array(PoolConfig)),
  /** Comma-separated prefixes below which a restore may leave its dataset. */
  HOLDFAST_AGENT_RESTORE_PATHS: z.string().default('/tmp/').transform(splitList).pipe(Prefixes),
  /** Comma-separated prefixes below which directories of this host may be backed up. */
  HOLDFAST_AGENT_SOURCE_PATHS: z.string().default('').transform(splitList).pipe(Prefixes),
  /** Where backups without a target go, and local targets lie. Default: `backups` in the state directory; never in a pool. */
  HOLDFAST_AGENT_BACKUP_ROOT: z.string().startsWith('/', 'must be an absolute path').optional(),
  /** Whether a target may be on this very machine. */
  HOLDFAST_AGENT_TARGET_LOOPBACK: z
    .enum(['true', 'false'])
    .default('false')
    .transform((text) => text === 'true'),
  /** Folder of LXC's containers. Default: LXC's own where its tools are; empty: none are served. */
  HOLDFAST_AGENT_LXC_PATH: PathOrNone.optional(),
  /** Where a container engine (Docker, Podman) listens. Default: its usual socket, where there is one; empty: none are served. */
  HOLDFAST_AGENT_DOCKER_SOCKET: PathOrNone.optional(),
  /** libvirt of this very host. Default: `qemu:///system` where virsh is installed and the daemon's socket is there; empty: none is served. */
  HOLDFAST_LIBVIRT_URI: z
    .string()
    .regex(
      /^((qemu:\/\/\/(system|session)|qemu\+unix:\/\/\/(system|session)\?socket=\/[^\s?&#;]+))?$/,
      'must be qemu:///system, qemu:///session, qemu+unix:///system?socket=/…, or empty',
    )
    .optional(),
  /** How long an instance may be kept frozen, in seconds: its watchdog thaws it then. */
  HOLDFAST_AGENT_FREEZE_SECONDS: z.coerce.number().int().min(1).max(3600).default(60),
  /** How volumes are exported over iSCSI. Default: `tgt` where tgtd is installed and the agent is root, or exports are kept; else `none`. */
  HOLDFAST_AGENT_EXPORTS: z.enum(['tgt', 'lio', 'none']).optional(),
  /** Comma-separated `address:port` where initiators find the exports. */
  HOLDFAST_AGENT_PORTALS: z.string().default('127.0.0.1:3260').transform(splitList).pipe(Portals),
  /** Whether tgtd goes on, with its exports, while the agent is away; else it ends with the agent, whatever ends that. */
  HOLDFAST_AGENT_EXPORTS_OUTLIVE: z
    .enum(['true', 'false'])
    .default('true')
    .transform((text) => text === 'true'),
  /** Orders worked on at one time. */
  HOLDFAST_AGENT_SLOTS: z.coerce.number().int().min(1).max(1024).default(64),
  /** Where the control plane is, and the file (a systemd credential) with the one-time token that makes this host one of the fleet. */
  HOLDFAST_ENROL_URL: z
    .string()
    .regex(/^https?:\/\//, 'must be an http:// or https:// URL')
    .optional(),
  HOLDFAST_ENROL_TOKEN_FILE: z.string().optional(),
  /** PEM: the authority that signed the control plane's certificate, where it is not a public one. */
  HOLDFAST_ENROL_CA_FILE: z.string().optional(),
  /** Default: where the enrolment says NATS is. */
  NATS_URL: z
    .string()
    .regex(/^(nats|tls):\/\//, 'must be a nats:// or tls:// URL')
    .optional(),
  /** For a NATS whose users are made in its own configuration: the file with this host's nkey seed. */
  NATS_SEED_FILE: z.string().optional(),
  /** PEM: the authority of NATS' certificate; our own certificate, where NATS asks for one. */
  NATS_CA_FILE: z.string().optional(),
  NATS_CERT_FILE: z.string().optional(),
  NATS_KEY_FILE: z.string().optional(),
  HOLDFAST_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
})
export type AgentConfig = Readonly<z.infer<typeof AgentConfig>>
