import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { createAuthority, filesOf, issueCertificate, revokeCertificate } from './client-authority.ts'
import type { Command } from './command.ts'

const DAYS = 825
const Folder = z
  .string('is required')
  .min(1, 'is required')
  .transform((path) => resolve(path))
/** A file's name and part of a subject: nothing that either would take for something else. */
const ClientName = z
  .string('is required')
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/, "must be 1 to 64 letters, digits, '.', '_' and '-'")
const Hosts = z
  .string()
  .default(['localhost', '127.0.0.1', '::1', hostname()].join())
  .transform((text) => text.split(',').map((host) => host.trim()))
  .pipe(z.array(z.string().regex(/^[a-zA-Z0-9*._:-]{1,253}$/, 'must be names or addresses')).min(1))

const Authority = z.object({ folder: Folder, hosts: Hosts })
const Client = z.object({ folder: Folder, name: ClientName })
const Issue = Client.extend({ days: z.coerce.number().int().min(1).max(3_650).default(DAYS) })

/** @throws invalid, naming the option. */
function read<Options extends z.ZodType>(schema: Options, options: unknown): z.output<Options> {
  const parsed = schema.safeParse(options)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new FleetError('invalid', `--${String(issue?.path[0])}: ${issue?.message}`)
}

export const certificatesAuthority: Command = {
  usage: '--folder DIR [--hosts NAMES]',
  summary: 'make an authority for client certificates, and the certificate of the TLS listener',
  options: { folder: { type: 'string' }, hosts: { type: 'string' } },

  async run({ options, environment, say }) {
    const { folder, hosts } = read(Authority, options)
    createAuthority({ folder, environment }, hosts)
    const files = filesOf({ folder })
    say('for the control plane:')
    say(`HOLDFAST_TLS_CERT_FILE=${files.server}`)
    say(`HOLDFAST_TLS_KEY_FILE=${files.serverKey}`)
    say(`HOLDFAST_CLIENT_CA_FILE=${files.authority}`)
    say(`HOLDFAST_CLIENT_CRL_FILE=${files.revoked}`)
    return 0
  },
}

export const certificatesIssue: Command = {
  usage: '--folder DIR --name NAME [--days N]',
  summary: 'make a client certificate; the user who has its subject among its certificates is who shows it',
  options: { folder: { type: 'string' }, name: { type: 'string' }, days: { type: 'string' } },

  async run({ options, environment, say }) {
    const { folder, name, days } = read(Issue, options)
    issueCertificate({ folder, environment }, name, days)
    const files = filesOf({ folder })
    say(`certificate ${files.client(name)}`)
    say(`key ${files.clientKey(name)}`)
    say(`subject:CN=${name}`)
    return 0
  },
}

export const certificatesRevoke: Command = {
  usage: '--folder DIR --name NAME',
  summary: 'let a client certificate in no more; its open connections end within seconds',
  options: { folder: { type: 'string' }, name: { type: 'string' } },

  async run({ options, environment, say }) {
    const { folder, name } = read(Client, options)
    revokeCertificate({ folder, environment }, name)
    say(`revoked ${name}`)
    return 0
  },
}
