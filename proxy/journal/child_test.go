package journal

func child(role string) int { return 1 }
