import { z } from 'zod'
import { readConfig } from '../../shared/config.ts'
import { ControlPlaneConfig } from '../config.ts'
import { createHeadMarks } from '../core/audit-chain.ts'
import { createAuditChainStore } from '../db/stores/audit-chain-store.ts'
import { createSecretStore } from '../db/stores/secret-store.ts'
import { readKeys } from '../secrets/read-keys.ts'
import { rotateSecrets } from '../secrets/rotate.ts'
import { createVault } from '../secrets/vault.ts'
import { type Command, withDatabase } from './command.ts'

const KeySettings = ControlPlaneConfig.pick({ HOLDFAST_SECRETS_KEY_FILE: true, HOLDFAST_SECRETS_KEY: true })
const Options = z.object({ json: z.boolean().default(false) })

/** Exit codes: 0 the newest key has sealed everything, 1 something could not be opened, or the audit's head not be marked. */
export const secretsRotate: Command = {
  usage: '[--json]',
  summary: 'seal every secret with the first of the keys; repeat at will',
  options: { json: { type: 'boolean' } },

  async run({ options, environment, say }) {
    const { json } = Options.parse(options)
    const vault = createVault(readKeys(readConfig(KeySettings, environment)))
    const marks = createHeadMarks(vault)
    const result = await withDatabase(environment, async (sql) => {
      const rotation = await rotateSecrets({ rows: createSecretStore(sql), vault })
      const chain = createAuditChainStore(sql, marks)
      const head = await chain.head()
      // A head that is not ours is not made ours here. One that grew meanwhile was marked by who made it grow.
      const isMarked = marks.holds(head)
      if (isMarked && head.seq > 0) await chain.remark(head)
      return { ...rotation, isMarked }
    })
    const { keyId, resealed, current, unopened, isMarked } = result
    if (json) say(JSON.stringify({ key: keyId, resealed, current, unopened, head_marked: isMarked }))
    else {
      say(`sealed again with the key ${keyId}: ${resealed}; sealed with it now: ${current}`)
      for (const row of unopened) say(`NOT opened: ${row.kind} ${row.id}, of the key ${row.keyId}`)
      if (!isMarked) say('the head of the audit was not marked with one of these keys, and is left so')
    }
    return unopened.length === 0 && isMarked ? 0 : 1
  },
}
