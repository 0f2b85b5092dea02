import test from 'ava'
import { ageKeys } from '../test/harness/age.ts'
import { lacksTool, testUnless } from '../test/harness/system-packages.ts'
import { AgeIdentity, AgeRecipient, identityKey, recipientKey } from './age-keys.ts'
import { publicKeyOf } from './sealed-box.ts'

/** From age's own manual. */
const RECIPIENT = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p'
const IDENTITY = 'AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX'

const wrong = (schema: typeof AgeRecipient, text: unknown) => schema.safeParse(text).error?.message ?? ''

test('a key whose letters were mistyped, cut or swapped is refused, and the message says how', (t) => {
  t.is(AgeRecipient.parse(RECIPIENT), RECIPIENT)
  t.regex(wrong(AgeRecipient, RECIPIENT.replace('ql3', 'ql4')), /check sum/)
  t.regex(wrong(AgeRecipient, RECIPIENT.slice(0, -1)), /check sum/)
  t.regex(wrong(AgeRecipient, `${RECIPIENT} `), /check sum/)
  t.regex(wrong(AgeRecipient, RECIPIENT.toUpperCase()), /begins age1/)
  t.regex(wrong(AgeRecipient, 'ssh-ed25519 AAAA'), /begins age1/)
  t.regex(wrong(AgeRecipient, `age1${'q'.repeat(9_000)}`), /too long/)
  t.regex(wrong(AgeIdentity, RECIPIENT), /public key: the private one/)
  t.regex(wrong(AgeIdentity, 'AGE-SECRET-KEY-1QQ'), /check sum/)
})

test('a private key where the public one belongs is refused without being repeated', (t) => {
  const message = wrong(AgeRecipient, IDENTITY)
  t.regex(message, /private key/)
  t.false(message.includes(IDENTITY.slice(20, 40)))
  for (const read of [recipientKey, identityKey]) {
    const error = t.throws(() => read(`${IDENTITY.slice(0, -1)}8`))
    t.false(error?.message.includes(IDENTITY.slice(20, 40)))
  }
})

test('keys that protect nothing are refused, and so are keys of other kinds', (t) => {
  t.regex(wrong(AgeRecipient, 'age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z'), /protects nothing/)
  const ofPlugin = 'age1yubikey1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqjrljxx'
  t.regex(wrong(AgeRecipient, ofPlugin), /another kind/)
})

testUnless(lacksTool('age-keygen'))(
  'keys of age-keygen are known, and a private one belongs to its public one',
  (t) => {
    for (let round = 0; round < 8; round += 1) {
      const { identity, recipient } = ageKeys()
      t.is(AgeIdentity.parse(identity), identity)
      t.deepEqual(recipientKey(AgeRecipient.parse(recipient)), publicKeyOf(identityKey(identity)))
    }
  },
)
