package daemon

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/crossfade-project/crossfade/internal/secrets"
)

// credentialFor is for how long what signs in to Azure is used before its secret is read
// again: it may have been changed.
const credentialFor = 5 * time.Minute

// lazyCredential signs in to Azure with the secret as it stands when a token is needed.
type lazyCredential struct {
	c    Config
	own  *secrets.Resolver
	http *http.Client

	mu   sync.Mutex
	made azcore.TokenCredential
	at   time.Time
}

// GetToken implements [azcore.TokenCredential].
func (l *lazyCredential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	l.mu.Lock()
	if l.made == nil || time.Since(l.at) > credentialFor {
		made, err := l.c.credential(ctx, l.own, l.http)
		if err != nil {
			l.mu.Unlock()
			return azcore.AccessToken{}, fmt.Errorf("signing in to Azure: %w", err)
		}
		l.made, l.at = made, time.Now()
	}
	made := l.made
	l.mu.Unlock()
	return made.GetToken(ctx, o)
}
