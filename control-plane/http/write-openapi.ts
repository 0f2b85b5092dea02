import { readFile, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Registry } from 'prom-client'
import { createDialects } from '../dialects.ts'
import { describeDialect } from './openapi.ts'

/** `node write-openapi.ts [--check]`: writes `openapi/<dialect>.json`, or fails when one is not what it would write. */

const folder = resolve(import.meta.dirname, '../../openapi')

const dialects = createDialects({
  readiness: async () => ({ postgres: true, nats: true, ingest: true }),
  metrics: new Registry(),
})

const checking = process.argv.includes('--check')

for (const dialect of dialects) {
  const file = resolve(folder, `${dialect.name}.json`)
  const text = `${JSON.stringify(describeDialect(dialect), null, 2)}\n`
  if (!checking) {
    await writeFile(file, text)
    continue
  }
  const written = await readFile(file, 'utf8').catch(() => '')
  if (written === text) continue
  process.stderr.write(`openapi/${dialect.name}.json is not what the routes say; run: npm run openapi\n`)
  process.exitCode = 1
}
