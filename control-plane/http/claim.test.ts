import test from 'ava'
import { headerText } from './claim.ts'

test('a header holds a name in UTF-8, or in Latin-1 where it cannot be UTF-8', (t) => {
  t.is(headerText(Buffer.from('équipe').toString('latin1')), 'équipe')
  t.is(headerText('équipe'), 'équipe')
  t.is(headerText('red'), 'red')
})
