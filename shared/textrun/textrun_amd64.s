#include "textflag.h"

// func plainFast(b []byte) (n int, wide bool)
//
// Y0, Y1, Y2: 32 times a quote, a backslash, the last control character.
// SI: b, CX: its length, DX: bytes that are plain, R8: bits of bytes beyond ASCII.
TEXT ·plainFast(SB), NOSPLIT, $0-33
	MOVQ b_base+0(FP), SI
	MOVQ b_len+8(FP), CX
	XORQ DX, DX
	XORL R8, R8
	MOVL $0x22, AX
	VMOVD AX, X0
	VPBROADCASTB X0, Y0
	MOVL $0x5c, AX
	VMOVD AX, X1
	VPBROADCASTB X1, Y1
	MOVL $0x1f, AX
	VMOVD AX, X2
	VPBROADCASTB X2, Y2
	SUBQ $32, CX
	JLT  done

next:
	CMPQ DX, CX
	JGT  done
	VMOVDQU (SI)(DX*1), Y3
	VPCMPEQB Y3, Y0, Y4
	VPCMPEQB Y3, Y1, Y5
	VPMINUB Y3, Y2, Y6      // itself where it is a control character
	VPCMPEQB Y3, Y6, Y6
	VPOR Y4, Y5, Y4
	VPOR Y4, Y6, Y4
	VPMOVMSKB Y4, AX
	VPMOVMSKB Y3, R10
	TESTL AX, AX
	JNZ  found
	ORL  R10, R8
	ADDQ $32, DX
	JMP  next

found:
	BSFL AX, BX             // which byte
	LEAL -1(AX), R11        // bits of those before it
	NOTL AX
	ANDL AX, R11
	ANDL R11, R10
	ORL  R10, R8
	ADDQ BX, DX

done:
	VZEROUPPER
	MOVQ DX, n+24(FP)
	TESTL R8, R8
	SETNE wide+32(FP)
	RET
