import { z } from 'zod'
import { readConfig } from '../../shared/config.ts'
import { FleetError } from '../../shared/errors.ts'
import { type AuditVerdict, verifyAudit } from '../audit/verify.ts'
import { ControlPlaneConfig } from '../config.ts'
import { createHeadMarks, type HeadMarks } from '../core/audit-chain.ts'
import { createAuditChainStore } from '../db/stores/audit-chain-store.ts'
import { readKeys } from '../secrets/read-keys.ts'
import { createVault } from '../secrets/vault.ts'
import { type Command, withDatabase } from './command.ts'

const Options = z.object({
  json: z.boolean().default(false),
  expect: z
    .string()
    .regex(/^\d{1,15}:[0-9a-f]{64}$/, 'must be SEQ:HASH, as an earlier run has printed it')
    .optional(),
})

/** Exit codes: 0 the chain holds, 1 it does not, 2 it could not be looked at. */
export const auditVerify: Command = {
  usage: '[--json] [--expect SEQ:HASH]',
  summary: 'walk the audit from its first link; exit 1 where it does not hold',
  options: { json: { type: 'boolean' }, expect: { type: 'string' } },
  exitCodeOfErrors: 2,

  async run({ options, environment, say }) {
    const parsed = Options.safeParse(options)
    if (!parsed.success) throw new FleetError('invalid', `--expect: ${parsed.error.issues[0]?.message}`)
    const { json, expect } = parsed.data
    const marks = marksOf(environment)
    const [seq, hash] = expect?.split(':') ?? []
    const noted = seq === undefined || hash === undefined ? undefined : { seq: Number(seq), hash }
    const verdict = await withDatabase(environment, (sql) =>
      verifyAudit({ store: createAuditChainStore(sql, marks ?? NO_MARKS), marks }, noted),
    )
    if (json) say(JSON.stringify(verdict))
    else for (const line of describe(verdict)) say(line)
    return verdict.fault === null ? 0 : 1
  },
}

/** For a look without the keys: nothing is written then. */
const NO_MARKS: HeadMarks = {
  make() {
    throw new Error('there is no key to mark with')
  },
  holds: () => false,
}

const KeySettings = ControlPlaneConfig.pick({ HOLDFAST_SECRETS_KEY_FILE: true, HOLDFAST_SECRETS_KEY: true })

/** Who only audits need not have the keys. */
function marksOf(environment: NodeJS.ProcessEnv): HeadMarks | undefined {
  const settings = readConfig(KeySettings, environment)
  const isGiven = settings.HOLDFAST_SECRETS_KEY_FILE !== undefined || settings.HOLDFAST_SECRETS_KEY !== undefined
  return isGiven ? createHeadMarks(createVault(readKeys(settings))) : undefined
}

const MARKS: Record<AuditVerdict['mark'], string> = {
  holds: 'made with our key',
  broken: 'NOT made with our key',
  unchecked: 'not checked: HOLDFAST_SECRETS_KEY_FILE is not set',
}

function describe({ links, head, mark, fault, unchained }: AuditVerdict): readonly string[] {
  const seconds = Math.round(unchained.seconds)
  return [
    ...(fault ? [`BROKEN at link ${fault.seq} (${fault.kind}): ${fault.message}`] : ['the chain holds']),
    `links that hold: ${links}`,
    `head: ${head.seq}:${head.hash}`,
    `mark: ${MARKS[mark]}`,
    `not linked yet: ${unchained.rows}${unchained.rows > 0 ? `, the oldest for ${seconds} s` : ''}`,
  ]
}
