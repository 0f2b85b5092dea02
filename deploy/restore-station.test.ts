import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { placeKeys } from './restore-station.ts'
import { stateDirectoryAt } from './state-directory.ts'

test('restored keys go where npm start looks for them, and never over one that is there', (t) => {
  const path = mkdtempSync(join(tmpdir(), 'holdfast-restore-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  const state = stateDirectoryAt(path)
  const folder = join(path, 'restored-keys')
  const write = () => {
    mkdirSync(folder)
    for (const name of ['secrets-key', 'authority.json', 'authority.conf', 'credentials.json'])
      writeFileSync(join(folder, name), name)
  }
  write()
  placeKeys(folder, state)
  t.is(readFileSync(state.secretsKey, 'utf8'), 'secrets-key')
  t.is(readFileSync(join(state.nats, 'authority.json'), 'utf8'), 'authority.json')
  t.true(existsSync(join(state.nats, 'authority.conf')) && existsSync(state.credentials))
  t.false(existsSync(folder))
  writeFileSync(state.secretsKey, 'mine')
  write()
  placeKeys(folder, state)
  t.is(readFileSync(state.secretsKey, 'utf8'), 'mine')
  t.is(readFileSync(join(folder, 'secrets-key'), 'utf8'), 'secrets-key')
})
