package sqltext

// A word is a keyword that this package looks at. That the lexer found one does
// not make it a keyword: most of them are legal names too.
type word uint8

const (
	noWord word = iota
	wAbort
	wAccess
	wAlter
	wAnalyze
	wAnd
	wAny
	wArray
	wAs
	wAtomic
	wBegin
	wBetween
	wBy
	wCall
	wCase
	wCheck
	wCheckpoint
	wClass
	wClose
	wCluster
	wComment
	wCommit
	wConcurrently
	wConflict
	wConstraint
	wCopy
	wCreate
	wData
	wDeallocate
	wDeclare
	wDefault
	wDelete
	wDiscard
	wDistinct
	wDo
	wDrop
	wElse
	wEnd
	wEvent
	wExcept
	wExecute
	wExists
	wExplain
	wFamily
	wFetch
	wFilter
	wFor
	wForeign
	wFreeze
	wFrom
	wFull
	wFunction
	wGlobal
	wGrant
	wGroup
	wHaving
	wIf
	wIlike
	wImport
	wIn
	wInclude
	wInsert
	wIntersect
	wInto
	wIs
	wJoin
	wKey
	wLarge
	wLateral
	wLike
	wLimit
	wListen
	wLoad
	wLocal
	wLock
	wMapping
	wMaterialized
	wMerge
	wMove
	wNo
	wNot
	wNotify
	wOffset
	wOn
	wOnly
	wOperator
	wOr
	wOrder
	wOver
	wPrepare
	wPrepared
	wProcedural
	wProcedure
	wReassign
	wRecursive
	wRefresh
	wReindex
	wRelease
	wReplace
	wReset
	wReturn
	wReturning
	wRevoke
	wRollback
	wRow
	wRows
	wSavepoint
	wSecurity
	wSelect
	wSession
	wSet
	wShare
	wShow
	wSome
	wStart
	wTable
	wTemp
	wTemporary
	wText
	wThen
	wTo
	wTransaction
	wTruncate
	wTrusted
	wUnion
	wUnique
	wUnlisten
	wUnlogged
	wUpdate
	wUser
	wUsing
	wVacuum
	wValues
	wVerbose
	wWhen
	wWhere
	wWindow
	wWith
)

// longestWord is the length of "materialized" and "concurrently".
const longestWord = 12

// lookupWord returns the keyword that text is, in any case.
func lookupWord(text string) word {
	if len(text) < 2 || len(text) > longestWord {
		return noWord
	}
	var lower [longestWord]byte
	for i := range len(text) {
		lower[i] = toLower(text[i])
	}
	switch key := lower[:len(text)]; key[0] {
	case 'a', 'b', 'c':
		return wordAToC(key)
	case 'd', 'e', 'f', 'g', 'h':
		return wordDToH(key)
	case 'i', 'j', 'k', 'l', 'm', 'n':
		return wordIToN(key)
	case 'o', 'p', 'r':
		return wordOToR(key)
	case 's', 't', 'u', 'v', 'w':
		return wordSToW(key)
	default:
		return noWord
	}
}

// toLower folds ASCII only, as PostgreSQL does in UTF-8 databases.
func toLower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
