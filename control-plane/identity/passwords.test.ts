import test from 'ava'
import { hashPassword, verifyPassword } from './passwords.ts'

test('a password matches its own hash and no other', async (t) => {
  const phc = await hashPassword('correct horse')
  t.regex(phc, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  t.true(await verifyPassword('correct horse', phc))
  t.false(await verifyPassword('correct horsE', phc))
  t.false(await verifyPassword('', phc))
  t.not(await hashPassword('correct horse'), phc)
})

test('a hash made elsewhere, with parameters of its own, is understood', async (t) => {
  // phc-winner-argon2: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 24 -e, version 0x13
  const phc = '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc'
  t.true(await verifyPassword('password', phc))
  t.false(await verifyPassword('passwort', phc))
})

test('letters that look alike and mean the same are the same', async (t) => {
  t.true(await verifyPassword('caf\u00e9', await hashPassword('cafe\u0301')))
})

test('an unknown user, a user without a password and a broken hash take as long and fail', async (t) => {
  const phc = await hashPassword('x')
  const took = async (work: () => Promise<unknown>) => {
    const startedAt = performance.now()
    await work()
    return performance.now() - startedAt
  }
  t.false(await verifyPassword('x', null))
  t.false(await verifyPassword('x', 'plain'))
  const known = await took(() => verifyPassword('y', phc))
  const unknown = await took(() => verifyPassword('y', null))
  t.true(unknown > known / 4, `${unknown} ms against ${known} ms`)
})

test.serial('more than can wait are told to come back, and the rest is served', async (t) => {
  const asked = await Promise.allSettled(Array.from({ length: 80 }, () => verifyPassword('x', null)))
  const refused = asked.filter((answer) => answer.status === 'rejected')
  t.is(refused.length, 80 - 4 - 64)
  t.like(refused[0]?.reason, { code: 'busy' })
  t.false(await verifyPassword('x', null))
})
