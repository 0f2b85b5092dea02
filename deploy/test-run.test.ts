import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { runSuite } from './test-run.ts'

const AVA = join(import.meta.dirname, '../node_modules/ava/entrypoints/main.js')

test('a test that fails by accident gets one more try, and one that fails again has failed', async (t) => {
  const folder = mkdtempSync('/var/tmp/holdfast-test-')
  t.teardown(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'room'))
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text)
  write(
    'package.json',
    '{ "type": "module", "ava": { "extensions": ["ts"], "files": ["**/*.test.ts"], "cache": false } }',
  )
  write('steady.test.ts', `import test from '${AVA}'\ntest('steady', (t) => t.pass())\n`)
  write(
    'room/rare.test.ts',
    `import { existsSync, writeFileSync } from 'node:fs'
    import test from '${AVA}'
    test('rare', (t) => {
      const wasHere = existsSync('${folder}/seen')
      writeFileSync('${folder}/seen', '')
      t.true(wasHere, 'not yet')
    })
    test('beside it', (t) => t.pass())`,
  )
  const run = async (...args: readonly string[]) => {
    const said: string[] = []
    const exitCode = await runSuite({ folder, say: (line) => said.push(line) }, args)
    return { exitCode, closing: said.at(-1), tried: said.filter((line) => line.startsWith('second try: ')) }
  }
  t.deepEqual(await run(), {
    exitCode: 0,
    closing: '3 passed, 0 failed, 0 skipped, 1 passed on a second try',
    tried: ['second try: room › rare › rare not yet'],
  })
  rmSync(join(folder, 'seen'))
  t.like(await run('room/rare.test.ts'), { exitCode: 1, closing: '1 passed, 1 failed, 0 skipped', tried: [] })
  write('room/rare.test.ts', `import test from '${AVA}'\ntest('rare', (t) => t.fail('never'))\n`)
  t.deepEqual(await run(), {
    exitCode: 1,
    closing: '1 passed, 1 failed, 0 skipped, 0 passed on a second try',
    tried: ['second try: room › rare › rare never'],
  })
})
